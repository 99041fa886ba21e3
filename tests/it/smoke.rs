//! An unsigned request goes in, a signed one comes out.

use crate::support::{Gateway, Sandbox, TASKLIST};

#[tokio::test]
async fn an_unsigned_request_reaches_the_saas_signed() {
    let sandbox = Sandbox::start().await;
    let gateway = Gateway::before(&sandbox).start();
    let answer = gateway.post(TASKLIST, r#"{"app_id":"a","page_num":1,"page_size":10}"#).await;
    assert_eq!((answer.status, answer.code()), (200, 0));
    assert!(sandbox.requests()[0].authorized);
}
