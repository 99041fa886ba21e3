//! How events, deliveries and subscribers are shown as JSON.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cursor::Listing;
use super::operations::{Operations, Sample, Standing};
use crate::store::{
    Attempt, BatchRecord, DeadLetter, Delivery, DeliveryState, EventDetail, EventSummary, Missing, Page,
    RequestSummary, SubscriberFigures, Unseen,
};
use crate::telemetry::mask;

/// `{"KEY": [rows], "next_cursor": …}`
pub(super) fn page<T>(listing: Listing, page: Page<T>, row: impl Fn(&T) -> Value) -> Value {
    let key = match listing {
        Listing::Events => "events",
        Listing::DeadLetters => "dead_letters",
        Listing::Requests => "requests",
        Listing::Batches => "batches",
        Listing::Missing => "missing",
    };
    let next = page.next_cursor.map(|cursor| listing.shown(&cursor));
    json!({ key: page.rows.iter().map(row).collect::<Vec<_>>(), "next_cursor": next })
}

impl Operations {
    /// An event without its body.
    pub(super) fn event(&self, event: &EventSummary) -> Value {
        let mut deliveries: Vec<_> = event.deliveries.iter().map(|told| self.delivery(event, told)).collect();
        // Whoever has not come to it yet may not have a word in the store.
        for one in self.subscribers.standing() {
            let told = event.deliveries.iter().any(|delivery| delivery.subscriber == one.name);
            if !told && self.subscribers.wants(&one.name, &event.app, event.kind) {
                deliveries.push(json!({
                    "subscriber": one.name,
                    "state": state(DeliveryState::Pending),
                    "attempts": 0,
                    "next_attempt_at": null,
                    "last_error": null,
                }));
            }
        }
        deliveries.sort_by(|one, other| one["subscriber"].as_str().cmp(&other["subscriber"].as_str()));
        json!({
            "id": event.id.to_string(),
            "received_at": event.received_at.to_string(),
            "app": event.app,
            "event": event.kind.name(),
            "label": event.label,
            "task_id": event.task_id,
            "call_sn": event.call_sn,
            "size": event.size_bytes,
            "deliveries": deliveries,
        })
    }

    fn delivery(&self, event: &EventSummary, delivery: &Delivery) -> Value {
        let unwanted = delivery.state == DeliveryState::Pending
            && !self.subscribers.wants(&delivery.subscriber, &event.app, event.kind);
        json!({
            "subscriber": delivery.subscriber,
            "state": state(if unwanted { DeliveryState::Skipped } else { delivery.state }),
            "attempts": delivery.attempts,
            "next_attempt_at": delivery.next_attempt_at.map(|time| time.to_string()),
            "last_error": self.masked(delivery.last_error.as_deref()),
        })
    }

    /// An event with its attempts.
    pub(super) fn event_detail(&self, detail: &EventDetail) -> Value {
        let mut event = self.event(&detail.summary);
        let attempts: Vec<Value> = detail.attempts.iter().map(|attempt| self.attempt(attempt)).collect();
        event["attempts"] = attempts.into();
        event
    }

    fn attempt(&self, attempt: &Attempt) -> Value {
        json!({
            "subscriber": &*attempt.subscriber,
            "attempt": attempt.number,
            "at": attempt.at.to_string(),
            "status": attempt.status,
            "latency_ms": attempt.latency_ms,
            "error": self.masked(attempt.error.as_deref()),
            "answer": self.answer(&attempt.answer),
        })
    }

    /// A delivery that was given up.
    pub(super) fn dead_letter(&self, letter: &DeadLetter) -> Value {
        json!({
            "event_id": letter.event_id.to_string(),
            "subscriber": letter.subscriber,
            "app": letter.app,
            "event": letter.kind.name(),
            "task_id": letter.task_id,
            "call_sn": letter.call_sn,
            "dead_at": letter.dead_at.to_string(),
            "attempts": letter.attempts,
            "last_error": self.masked(letter.last_error.as_deref()),
        })
    }

    /// What came of a sample.
    pub(super) fn sample(&self, sample: &Sample) -> Value {
        json!({
            "event": sample.kind.name(),
            "ok": sample.error.is_none(),
            "status": sample.status,
            "latency_ms": sample.latency_ms,
            "error": self.masked(sample.error.as_deref()),
            "answer": self.answer(&sample.answer),
        })
    }

    /// A subscriber; one that is no longer configured stands still.
    pub(super) fn subscriber(
        &self,
        name: &str,
        standing: Option<&Standing>,
        figures: Option<&SubscriberFigures>,
    ) -> Value {
        let last_error = standing.and_then(|one| one.last_error.as_ref());
        let count = |of: fn(&SubscriberFigures) -> u64| figures.map_or(0, of);
        json!({
            "name": name,
            "url": standing.map(|one| &one.url),
            "configured": standing.is_some(),
            "state": standing.map_or("paused", |one| one.state),
            "backlog": figures.map_or(0, |figures| self.backlog(figures)),
            "oldest_age_seconds": figures.map_or(0.0, |figures| self.oldest_age_seconds(figures)),
            "delivered": count(|figures| figures.delivered),
            "failed": count(|figures| figures.failed),
            "dead": count(|figures| figures.dead),
            "expired": count(|figures| figures.expired),
            "in_flight": standing.map_or(0, |one| one.in_flight),
            "last_error": self.masked(last_error.map(|(_, error)| error.as_str())),
            "last_error_at": last_error.map(|(at, _)| at.to_string()),
        })
    }

    /// A batch.
    pub(super) fn batch(&self, batch: &BatchRecord) -> Value {
        let before = Timestamp::now().saturating_sub(self.quiet_after).unwrap_or(Timestamp::MIN);
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let told = &batch.told;
        json!({
            "call_sn": told.call_sn,
            "app": told.app,
            "task_id": told.task_id,
            "task_name": told.task_name,
            "call_sn_name": told.call_sn_name,
            "submitted_at": time(batch.submitted_at),
            "sent": batch.sent,
            "accepted": batch.accepted,
            "returned": told.returned,
            "connected": told.connected,
            "by_state": told.by_state,
            "by_degree": told.by_degree,
            "first_record_at": time(told.first_record_at),
            "last_record_at": time(told.last_record_at),
            "quiet": batch.is_quiet(before),
        })
    }

    /// How long the oldest event has waited of those that a subscriber has yet to get.
    pub(super) fn oldest_age_seconds(&self, figures: &SubscriberFigures) -> f64 {
        let oldest = figures.oldest.filter(|_| self.backlog(figures) > 0);
        let age = oldest.map_or(0, |oldest| Timestamp::now().as_millisecond() - oldest.as_millisecond());
        // A clock that was set back makes nothing younger than new.
        age.max(0) as f64 / 1000.0
    }

    fn masked(&self, text: Option<&str>) -> Option<String> {
        let mask = self.mask_numbers.load(Ordering::Relaxed);
        text.map(|text| if mask { mask::numbers(text).into_owned() } else { text.to_owned() })
    }

    fn answer(&self, answer: &[u8]) -> Option<String> {
        self.masked(Some(&String::from_utf8_lossy(answer)))
    }
}

/// The numbers of a batch that lack a call record.
pub(super) fn missing(batch: &BatchRecord, found: Result<Missing, Unseen>) -> Value {
    let why = found.as_ref().err().map(|unseen| unseen.name());
    let count = |of: fn(&Missing) -> u64| found.as_ref().ok().map(of);
    let mut shown = json!({
        "call_sn": batch.told.call_sn,
        "app": batch.told.app,
        "seen": why.is_none(),
        "why": why,
        "sent": count(|found| found.sent),
        "distinct": count(|found| found.distinct),
        "unexpected": count(|found| found.unexpected),
        "missing_count": count(|found| found.missing),
    });
    let found = found.unwrap_or_default();
    let next_cursor = found.page.last().filter(|_| found.more).map(|number| number.row.to_string());
    let rows = page(
        Listing::Missing,
        Page { rows: found.page, next_cursor },
        |number| json!({ "row": number.row, "repeats": number.repeats }),
    );
    if let (Value::Object(shown), Value::Object(rows)) = (&mut shown, rows) {
        shown.extend(rows);
    }
    shown
}

/// A request that must not be sent twice.
pub(super) fn request(request: &RequestSummary) -> Value {
    json!({
        "id": request.id.to_string(),
        "state": request.state.name(),
        "app": request.app,
        "endpoint": request.endpoint,
        "request_id": request.request_id,
        "idempotency_key": request.key,
        "task_id": request.task_id,
        "begun_at": request.begun_at.to_string(),
        "ended_at": request.ended_at.map(|time| time.to_string()),
    })
}

fn state(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "pending",
        DeliveryState::Retrying => "retrying",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Dead => "dead",
        DeliveryState::Skipped => "skipped",
    }
}
