use super::*;

fn end(tracer: &Tracer) {
    if let Some(span) = tracer.request(&HeaderMap::new()) {
        span.end(Told::new("x", Kind::Server));
    }
}

fn dropped(tracer: &Tracer) -> u64 {
    tracer.0.sink.counts().dropped.load(std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_and_what_finds_no_room_is_counted() {
    let (tracer, mut queue) = Tracer::new(1.0);
    for _ in 0..QUEUE + 3 {
        end(&tracer);
    }
    assert_eq!(dropped(&tracer), 3);
    let mut batch = Vec::new();
    queue.gather(&mut batch).await;
    assert_eq!(batch.len(), BATCH);
    while !batch.is_empty() {
        batch.clear();
        queue.take(&mut batch);
    }
    end(&tracer);
    queue.gather(&mut batch).await;
    assert_eq!((batch.len(), dropped(&tracer)), (1, 3));
    drop(queue);
    end(&tracer);
    assert_eq!(dropped(&tracer), 4);
}

#[test]
fn as_many_traces_are_kept_as_the_ratio_says() {
    for (ratio, least, most) in [(0.0, 0, 0), (0.25, 2000, 3000), (1.0, 10_000, 10_000)] {
        let (tracer, _queue) = Tracer::new(ratio);
        let kept = (0..10_000).filter(|_| tracer.request(&HeaderMap::new()).is_some()).count();
        assert!((least..=most).contains(&kept), "{ratio}: {kept}");
        let kept = (0..10_000).filter(|_| tracer.callback(Uuid::now_v7()).is_some()).count();
        assert!((least..=most).contains(&kept), "{ratio}: {kept} of events");
    }
}

#[test]
fn an_event_has_one_trace_whoever_asks() {
    let id = Uuid::now_v7();
    let (before, _queue) = Tracer::new(0.5);
    let (after, _queue) = Tracer::new(0.5);
    assert_eq!(before.event(id), after.event(id));
    assert_eq!(before.event(id).trace.to_string(), id.simple().to_string());
}

#[test]
fn what_the_collector_rejects_is_told() {
    for (answer, rejected) in [
        (&br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"x"}}"#[..], 3),
        (br#"{"partialSuccess":{"rejectedSpans":2}}"#, 2),
        (b"{}", 0),
        (b"no json", 0),
    ] {
        assert_eq!(otlp::rejected(answer), rejected);
    }
}
