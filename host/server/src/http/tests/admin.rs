//! Who may steer what, and what a web page cannot send.

use futures_util::future::BoxFuture;

use std::path::PathBuf;
use std::sync::Mutex;

use super::*;

/// Writes down what it was asked; knows one handler of `a`, and one name that two tenants use.
#[derive(Default)]
pub(super) struct Asked(Mutex<Vec<String>>);

impl Asked {
    fn note(&self, what: String) -> BoxFuture<'static, AdminResult> {
        self.0.lock().unwrap().push(what.clone());
        Box::pin(std::future::ready(match what.as_str() {
            "back up /taken" => Err(AdminError::Conflict("/taken is not empty".to_owned())),
            "back up /full" => Err(AdminError::Failed("the disk is full".to_owned())),
            "purge default/nobody" => Err(AdminError::Unknown("there is none".to_owned())),
            _ => Ok(json!({ "done": what })),
        }))
    }
}

impl Admin for Asked {
    fn tenants_of(&self, handler: &str) -> Vec<Arc<str>> {
        match handler {
            "billing" => vec!["a".into()],
            "both" => vec!["a".into(), "b".into()],
            _ => Vec::new(),
        }
    }

    fn back_up(&self, target: PathBuf) -> BoxFuture<'static, AdminResult> {
        self.note(format!("back up {}", target.display()))
    }

    fn purge(&self, Subject { tenant, handler }: Subject) -> BoxFuture<'static, AdminResult> {
        self.note(format!("purge {tenant}/{handler}"))
    }

    fn drain(&self) -> BoxFuture<'static, AdminResult> {
        self.note("drain".to_owned())
    }

    fn steer(&self, subject: Subject, steer: Steer) -> BoxFuture<'static, AdminResult> {
        let Subject { tenant, handler } = subject;
        self.note(format!("{steer:?} {tenant}/{handler}"))
    }

    fn letters(&self, subject: Subject, asked: Letters) -> BoxFuture<'static, AdminResult> {
        let Subject { tenant, handler } = subject;
        self.note(format!("{asked:?} {tenant}/{handler}"))
    }

    fn peer(&self, request: Bytes) -> BoxFuture<'static, AdminResult> {
        self.note(format!("peer {}", String::from_utf8_lossy(&request)))
    }
}

fn with_an_admin() -> HttpConfig {
    let token = |secret: &str, tenant: &str, admin| Token {
        secret: secret.to_owned(),
        tenant: tenant.into(),
        admin,
    };
    let tokens = vec![
        token("secret-of-a", "a", false),
        token("secret-of-b", "b", false),
        token("secret-of-all", "c", true),
    ];
    HttpConfig { tokens, ..config() }
}

const JSON: &str = "content-type: application/json\r\n";

fn authorization(token: &str) -> String {
    if token.is_empty() {
        String::new()
    } else {
        format!("authorization: Bearer {token}\r\n")
    }
}

/// Posts bodies to paths without a token: what is answered, and what that says.
async fn check(host: &Host, cases: &[(&str, &str, u16, &str)]) {
    for (path, body, status, says) in cases {
        let answer = post(host, "", path, body).await;
        assert_eq!(answer.status, *status, "{path} {body}: {answer:?}");
        assert!(answer.body.contains(says), "{path} {body}: {answer:?}");
    }
}

async fn post(host: &Host, token: &str, path: &str, body: &str) -> Answer {
    let authorization = authorization(token);
    let headers = format!("{JSON}{authorization}");
    host.request(&format!("POST /v1/admin/{path}"), &headers, body)
        .await
}

#[tokio::test]
async fn without_tokens_whoever_reaches_the_host_steers_it() {
    let host = start().await;
    let cases = [
        ("backup", r#"{"path":"/x"}"#, 200, "back up /x"),
        ("backup", r#"{"path":"/taken"}"#, 409, "/taken is not empty"),
        ("backup", r#"{"path":"/full"}"#, 500, "the disk is full"),
        ("backup", "{}", 400, "missing field `path`"),
        ("handlers/billing/purge", "{}", 200, "purge a/billing"),
        (
            "handlers/billing/purge?tenant=b",
            "{}",
            200,
            "purge b/billing",
        ),
        ("handlers/nobody/purge", "{}", 404, "there is none"),
        ("handlers/both/purge", "{}", 400, "a and b have a handler"),
        ("handlers/billing/pause", "{}", 200, "Pause a/billing"),
        (
            "handlers/billing/resume",
            "{}",
            200,
            "Resume(None) a/billing",
        ),
        (
            "handlers/billing/resume",
            r#"{"from":"latest","partition":3}"#,
            200,
            "Resume(Some(Choice { start: Latest, partition: Some(3) })) a/billing",
        ),
        (
            "handlers/billing/resume",
            r#"{"from":"yesterday"}"#,
            400,
            "write earliest, latest or an offset",
        ),
        (
            "handlers/billing/resume",
            r#"{"partition":3}"#,
            400,
            "write from, too",
        ),
        (
            "handlers/billing/breaker",
            r#"{"command":"open"}"#,
            200,
            "Breaker(Open) a/billing",
        ),
        ("handlers/billing/breaker", "{}", 400, "missing field"),
        ("nothing", "{}", 404, "/v1/admin/.."),
    ];
    check(&host, &cases).await;
}

#[tokio::test]
async fn a_token_steers_its_tenants_handlers_and_an_admins_token_everything() {
    let host = start_with(with_an_admin()).await;
    let cases = [
        ("", "handlers/billing/purge", 401),
        ("secret-of-a", "handlers/billing/purge", 200),
        ("secret-of-a", "handlers/billing/purge?tenant=a", 200),
        ("secret-of-a", "handlers/billing/purge?tenant=b", 403),
        ("secret-of-b", "handlers/billing/purge?tenant=a", 403),
        ("secret-of-b", "handlers/billing/pause?tenant=a", 403),
        ("secret-of-a", "handlers/billing/pause", 200),
        ("secret-of-a", "backup", 403),
        ("secret-of-a", "drain", 403),
        ("secret-of-all", "drain", 200),
        ("secret-of-all", "backup", 200),
        ("secret-of-all", "handlers/billing/purge", 200),
        ("secret-of-all", "handlers/both/purge?tenant=b", 200),
    ];
    for (token, path, status) in cases {
        let answer = post(&host, token, path, r#"{"path":"/x"}"#).await;
        assert_eq!(answer.status, status, "{token} {path}: {answer:?}");
    }
    // A name means the caller's own handler, whoever else has one.
    let answer = post(&host, "secret-of-b", "handlers/billing/purge", "{}").await;
    assert_eq!(answer.json()["done"], "purge b/billing");
}

#[tokio::test]
async fn what_a_web_page_can_send_without_asking_steers_nothing() {
    let host = start().await;
    for content_type in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
    ] {
        for path in [
            "backup",
            "drain",
            "handlers/billing/purge",
            "handlers/billing/pause",
        ] {
            let answer = host
                .request(
                    &format!("POST /v1/admin/{path}"),
                    content_type,
                    r#"{"path":"/x"}"#,
                )
                .await;
            assert_eq!(answer.status, 415, "{content_type} {path}: {answer:?}");
        }
    }
    assert!(host.asked.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_done_about_letters_says_which_ones() {
    let host = start().await;
    let cases = [
        (
            "handlers/billing/letters/drop",
            r#"{"selection":{"code":"c"}}"#,
            200,
            "Drop(Selection",
        ),
        (
            "handlers/billing/letters/release",
            r#"{"selection":{"colour":"c"}}"#,
            400,
            "unknown field `colour`",
        ),
        (
            "handlers/billing/jobs",
            r#"{"selection":{"all":true}}"#,
            200,
            "}, 10, None) a/billing",
        ),
        (
            "handlers/billing/jobs",
            r#"{"selection":{"all":true},"rate":1001}"#,
            400,
            "at most 1000 letters a second",
        ),
        (
            "handlers/billing/jobs",
            r#"{"selection":{"all":true},"rate":0}"#,
            400,
            "nonzero",
        ),
        (
            "handlers/billing/jobs/7",
            r#"{"command":"cancel"}"#,
            200,
            "Job(7, Some(Cancel)) a/billing",
        ),
        (
            "handlers/billing/dry-run",
            r#"{"selection":{"letters":["x"]},"version":"1.1.0"}"#,
            200,
            "}, Some(\\\"1.1.0\\\")) a/billing",
        ),
    ];
    check(&host, &cases).await;
}

async fn get(host: &Host, token: &str, path: &str) -> Answer {
    let authorization = authorization(token);
    host.request(&format!("GET /v1/admin/{path}"), &authorization, "")
        .await
}

#[tokio::test]
async fn letters_are_asked_for_by_what_they_have_in_common() {
    let host = start().await;
    let billing = |rest: &str| format!("handlers/billing/{rest}");
    for (path, status, says) in [
        ("letters", 200, "all: false, code: None"),
        (
            "letters?code=a&class=b&limit=7",
            200,
            "code: Some(\\\"a\\\"), class: Some(\\\"b\\\")",
        ),
        (
            "letters?within_s=60&status=held",
            200,
            "within_s: Some(60), status: Some(Held)",
        ),
        ("letters?status=lost", 400, "unknown variant"),
        ("letters?before=7.9", 200, "Some(Cursor([7, 9]))"),
        ("letters?before=x", 400, "is not where a list"),
        ("letters?limit=0", 400, "write 1 to 10000"),
        ("letters/abc", 200, "Show(\\\"abc\\\") a/billing"),
        ("parked?limit=3", 200, "Parked(3) a/billing"),
        ("jobs", 200, "Jobs a/billing"),
        ("jobs/7", 200, "Job(7, None) a/billing"),
        ("jobs/seven", 400, "seven"),
    ] {
        let answer = get(&host, "", &billing(path)).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.body.contains(says), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn letters_are_shown_to_those_who_may_steer_the_handler() {
    let host = start_with(with_an_admin()).await;
    for (token, path, status) in [
        ("", "handlers/billing/letters", 401),
        ("secret-of-a", "handlers/billing/letters", 200),
        ("secret-of-b", "handlers/billing/letters?tenant=a", 403),
        ("secret-of-b", "handlers/billing/letters/x?tenant=a", 403),
        ("secret-of-b", "handlers/billing/parked?tenant=a", 403),
        ("secret-of-all", "handlers/billing/parked", 200),
    ] {
        let answer = get(&host, token, path).await;
        assert_eq!(answer.status, status, "{token} {path}: {answer:?}");
    }
}
