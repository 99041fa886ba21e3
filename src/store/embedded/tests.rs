use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::store::log::disk::DiskFile;
use crate::store::suite::{self, House};
use crate::store::{
    Claim, Claimed, Conclusion, EventFilter, Marks, RequestId, RequestState, SentNumbers, Store, StoreError,
    Submission, Unseen,
};

/// A disk that can be full.
struct Fillable {
    folder: Folder,
    full: Arc<AtomicBool>,
}

struct FillableFile {
    file: Arc<dyn DiskFile>,
    full: Arc<AtomicBool>,
}

impl Fillable {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FillableFile { file, full: Arc::clone(&self.full) })
    }
}

impl Disk for Fillable {
    fn list(&self) -> io::Result<Vec<String>> {
        self.folder.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.folder.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.folder.open(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.folder.sync()
    }
}

impl DiskFile for FillableFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            self.file.write_at(offset, &bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

/// A folder with the store in it. Each group gets a segment of its own, so that any of them can be removed.
struct Embedded {
    folder: tempfile::TempDir,
    full: Arc<AtomicBool>,
    store: Option<Arc<EmbeddedStore>>,
}

impl Embedded {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), full: Arc::default(), store: None }
    }

    fn settings(&self) -> Settings {
        Settings {
            path: self.folder.path().join("gateway.db"),
            retention: Duration::from_hours(7 * 24),
            max_size_bytes: 1 << 30,
            cluster: None,
        }
    }

    fn start(&mut self) -> Recovered {
        let settings = self.settings();
        let folder = Folder::new(log_folder(&settings.path)).unwrap();
        let disk = Fillable { folder, full: Arc::clone(&self.full) };
        let (store, recovered) = open_on(&settings, Arc::new(disk), 65).unwrap();
        self.store = Some(Arc::new(store));
        recovered
    }

    fn store(&self) -> Arc<EmbeddedStore> {
        Arc::clone(self.store.as_ref().unwrap())
    }
}

impl House for Embedded {
    async fn open(&mut self) -> Arc<dyn Store> {
        self.start();
        self.store()
    }

    async fn reopen(&mut self) -> Option<Arc<dyn Store>> {
        self.store().close().await;
        assert_eq!(self.start().damaged, []);
        Some(self.store())
    }

    async fn remove_before(&mut self, seq: Seq) {
        self.store().act(move |work| work.expire(seq, Timestamp::now())).await.unwrap();
    }

    async fn sweep(&mut self, now: Timestamp) {
        let sweep = move |work: &mut Work| {
            work.sweep(now);
            Ok(())
        };
        self.store().act(sweep).await.unwrap();
    }

    fn refuse(&mut self, refuse: bool) {
        self.full.store(refuse, Ordering::Relaxed);
        self.store().shared.full.store(refuse, Ordering::Relaxed);
    }
}

suite::suite!(Embedded::new());

#[tokio::test]
async fn a_lost_index_is_made_again() {
    let mut house = Embedded::new();
    let store = house.open().await;
    suite::fill(&store, 50).await;
    house.store().close().await;
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(house.folder.path().join(format!("gateway.db{suffix}"))).ok();
    }
    assert_eq!(house.start().indexed, 50);
    let page =
        house.store().sql(|questions| questions.events(&EventFilter::default(), 99, None)).await.unwrap();
    assert_eq!(page.rows.len(), 50);
}

#[tokio::test]
async fn a_lost_log_is_told_of() {
    let mut house = Embedded::new();
    let store = house.open().await;
    suite::fill(&store, 5).await;
    suite::subscribe(&store, "hook").await;
    house.store().close().await;
    std::fs::remove_dir_all(log_folder(&house.settings().path)).unwrap();
    house.start();
    let page =
        house.store().sql(|questions| questions.events(&EventFilter::default(), 99, None)).await.unwrap();
    assert_eq!(page.rows.len(), 0);
    let store: Arc<dyn Store> = house.store();
    assert_eq!(suite::keep(&store, suite::event(6)).await, suite::place(1));
    assert_eq!(suite::read(&store, 1).await.len(), 1);
}

#[tokio::test]
async fn max_size_is_the_end_of_room() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        path: folder.path().join("gateway.db"),
        retention: Duration::from_hours(1),
        max_size_bytes: 1 << 20,
        cluster: None,
    };
    let store: Arc<dyn Store> = Arc::new(open(&settings).unwrap().0);
    let large = || crate::store::NewEvent { body: vec![0; 100_000].into(), ..suite::event(1) };
    let mut kept = 0;
    let refused = loop {
        match store.append(large()).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 20);
    };
    assert!(matches!(refused, StoreError::Full(_)) && matches!(store.writable(), Err(StoreError::Full(_))));
    assert_eq!(suite::read(&store, 1).await.len(), kept);
    let (bytes, most) = store.size().await.unwrap();
    assert!(bytes <= most && most == 1 << 20);
}

#[tokio::test]
async fn retention_goes_by_age_and_whole_segments() {
    let mut house = Embedded::new();
    let store = house.open().await;
    let now = Timestamp::now();
    let day = jiff::SignedDuration::from_hours(24);
    for (number, age) in [(1, 9), (2, 8), (3, 6), (4, 1)] {
        let event = crate::store::NewEvent { received_at: now - day * age, ..suite::event(number) };
        suite::keep(&store, event).await;
    }
    house.sweep(now).await;
    assert_eq!(suite::seqs(&suite::read(&store, 1).await), [3, 4]);
    house.sweep(now + day * 2).await;
    assert_eq!(suite::seqs(&suite::read(&store, 1).await), [4]);
}

fn claim(app: &str, key: &str) -> Claim {
    Claim {
        app: app.into(),
        endpoint: "outnum",
        request_id: "r".into(),
        key: Some(key.into()),
        marks: None,
        at: Timestamp::now(),
        unless_since: None,
        force: false,
    }
}

async fn taken(store: &Arc<dyn Store>, claim: Claim) -> RequestId {
    match store.claim(claim).await.unwrap() {
        Claimed::Taken(id) => id,
        Claimed::Blocked(earlier) => panic!("{earlier:?} stands in its way"),
    }
}

async fn states(store: &Arc<dyn Store>) -> Vec<RequestState> {
    let page = store.requests(None, 9, None).await.unwrap();
    page.rows.iter().map(|row| row.state).collect()
}

/// Has the index's thread execute it.
async fn execute(house: &Embedded, sql: &'static str) {
    let act = move |work: &mut Work| work.connection.execute_batch(sql).map_err(|error| told(&error));
    house.store().act(act).await.unwrap();
}

#[tokio::test]
async fn no_request_is_under_way_for_ever() {
    let mut house = Embedded::new();
    let store = house.open().await;
    taken(&store, claim("crm", "k")).await;
    for (hours, state) in
        [(23, RequestState::UnderWay), (25, RequestState::Unknown), (50, RequestState::Unknown)]
    {
        house.sweep(Timestamp::now() + jiff::SignedDuration::from_hours(hours)).await;
        assert_eq!(states(&store).await, [state], "{hours}");
    }
}

#[tokio::test]
async fn an_app_has_room_for_its_share_of_requests() {
    let mut house = Embedded::new();
    let store = house.open().await;
    let id = taken(&store, claim("crm", "a")).await;
    store.conclude(id, Conclusion::NotSent, Timestamp::now()).await.unwrap();
    // What was named once and is gone does not count.
    execute(&house, "UPDATE sqlite_sequence SET seq = 5000000 WHERE name = 'request'").await;
    let id = taken(&store, claim("crm", "a")).await;
    execute(&house, "UPDATE request_count SET requests = 125000 WHERE app = 'crm' AND requests = 1").await;
    let refused = store.claim(claim("crm", "b")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    taken(&store, claim("erp", "b")).await;
    store.conclude(id, Conclusion::NotSent, Timestamp::now()).await.unwrap();
    taken(&store, claim("crm", "b")).await;
    execute(&house, "INSERT INTO request_count VALUES ('others', 875000)").await;
    store.claim(claim("cti", "b")).await.unwrap_err();
}

#[tokio::test]
async fn a_conclusion_that_failed_alone_is_written_later() {
    let mut house = Embedded::new();
    let store = house.open().await;
    let id = taken(&store, claim("crm", "a")).await;
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON request BEGIN SELECT RAISE(ABORT, 'no'); END";
    execute(&house, refuse).await;
    let (concluded, other) = tokio::join!(
        store.conclude(id, Conclusion::Done(None), Timestamp::now()),
        store.claim(claim("crm", "b"))
    );
    assert!(concluded.is_err() && other.is_ok(), "{concluded:?} {other:?}");
    execute(&house, "DROP TRIGGER refuse").await;
    taken(&store, claim("crm", "c")).await;
    assert_eq!(states(&store).await, [RequestState::UnderWay, RequestState::UnderWay, RequestState::Done]);
}

#[tokio::test]
async fn after_a_jump_of_the_clock_no_window_is_over() {
    let mut house = Embedded::new();
    let store = house.open().await;
    let marks = |content| Some(Marks { content: Some([content; 32]), ..Marks::default() });
    let first = |content| Claim {
        key: None,
        marks: marks(content),
        unless_since: Some(Timestamp::now()),
        ..claim("crm", "")
    };
    let later = |content| {
        let month = Timestamp::now() + jiff::SignedDuration::from_hours(30 * 24);
        Claim { at: month, unless_since: Some(month), ..first(content) }
    };
    let done = async |content| {
        let id = taken(&store, first(content)).await;
        store.conclude(id, Conclusion::Done(None), Timestamp::now()).await.unwrap();
    };
    done(1).await;
    taken(&store, later(1)).await;
    done(2).await;
    let jump = |work: &mut Work| {
        assert!(!work.watch_clock(Timestamp::now() + jiff::SignedDuration::from_hours(30 * 24)));
        work.keep_clock();
        Ok(())
    };
    house.store().act(jump).await.unwrap();
    assert!(matches!(store.claim(later(2)).await.unwrap(), Claimed::Blocked(_)));
    taken(&store, Claim { force: true, ..later(2) }).await;
    drop(store);
    // Nor is it over because the process ended in between.
    let store = house.reopen().await.unwrap();
    assert!(matches!(store.claim(later(2)).await.unwrap(), Claimed::Blocked(_)));
    let trusted = house.store().act(|work| Ok(work.watch_clock(Timestamp::now()))).await.unwrap();
    assert!(!trusted);
}

#[tokio::test]
async fn numbers_go_with_their_batch() {
    let mut house = Embedded::new();
    let store = house.open().await;
    let submission = Submission {
        app: "crm".into(),
        call_sn: "a".into(),
        task_id: None,
        call_sn_name: None,
        sent: None,
        accepted: None,
        at: Timestamp::now(),
    };
    store.submit_batch(submission).await.unwrap();
    let numbers = SentNumbers::of(vec![SentNumbers::row(2, 7)]);
    store.keep_sent("crm", "a", Ok(numbers.clone())).await.unwrap();
    for (days, sent) in [(29, Ok(numbers)), (31, Err(Unseen::Elsewhere))] {
        house.sweep(Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).await;
        assert_eq!(store.sent("crm", "a").await.unwrap(), sent, "{days}");
    }
    let left = "SELECT count(*) FROM batch_sent";
    let left = move |work: &mut Work| {
        work.connection.query_row(left, [], |row| row.get::<_, i64>(0)).map_err(|error| told(&error))
    };
    assert_eq!(house.store().act(left).await.unwrap(), 0);
}
