//! A blocking client of the host's HTTP surface; every status is an answer, not an error.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::wait;

/// Longer than any answer may take, so that a hang fails a test rather than stops the suite.
const ANSWER: Duration = Duration::from_secs(60);

/// A client of one host; connections are kept.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    address: String,
}

/// What the host answered.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `content-type`, empty when absent.
    pub content_type: String,
    /// The body as it came.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("{}: {}", self.status, self.body))
    }
}

impl Client {
    /// A client of the host at `address` (`127.0.0.1:8080`).
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self::within(address, ANSWER)
    }

    /// The same for one that gives up sooner: the host may be frozen.
    #[must_use]
    pub fn within(address: &str, answer: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(answer))
            .build();
        Self {
            agent: config.new_agent(),
            address: address.to_owned(),
        }
    }

    /// Where the host listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `GET path`.
    ///
    /// # Errors
    /// No answer came.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let request = self.agent.get(format!("{}{path}", self.url()));
        answer(request.call().with_context(|| format!("GET {path}"))?)
    }

    /// `POST path` with these headers.
    ///
    /// # Errors
    /// No answer came.
    pub fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let mut request = self.agent.post(format!("{}{path}", self.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body).with_context(|| format!("POST {path}"))?)
    }

    /// Publishes events (each the JSON text of one) as one batch: all of them or none.
    ///
    /// # Errors
    /// No answer came.
    pub fn publish<S: AsRef<str>>(&self, topic: &str, events: &[S]) -> anyhow::Result<Answer> {
        let events: Vec<&str> = events.iter().map(AsRef::as_ref).collect();
        let body = format!("[{}]", events.join(","));
        let content_type = ("content-type", "application/cloudevents-batch+json");
        self.post(
            &format!("/v1/topics/{topic}/events"),
            &[content_type],
            body.as_bytes(),
        )
    }

    /// Hands every record that the topic holds to `record`, as the host tells it: partition, offset and event.
    ///
    /// # Errors
    /// The host refused, broke off, or sent something that is no JSON.
    pub fn each_event(
        &self,
        topic: &str,
        mut record: impl FnMut(&Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let path = format!("/v1/topics/{topic}/events?from=beginning&follow=false");
        let mut response = self
            .agent
            .get(format!("{}{path}", self.url()))
            .call()
            .with_context(|| format!("GET {path}"))?;
        anyhow::ensure!(
            response.status() == 200,
            "GET {path}: {}",
            response.body_mut().read_to_string()?
        );
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let line = line.context("the answer broke off")?;
            if !line.is_empty() {
                record(&serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?)?;
            }
        }
        Ok(())
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// No answer came, or another status than 200.
    pub fn status(&self) -> anyhow::Result<Value> {
        let answer = self.get("/v1/status")?;
        anyhow::ensure!(
            answer.status == 200,
            "GET /v1/status: {} {}",
            answer.status,
            answer.body
        );
        answer.json()
    }

    /// How often a handler gave this fate to an event, by the host's status; 0 for a handler that is not there.
    ///
    /// # Errors
    /// No status came.
    pub fn fate(&self, handler: &str, fate: &str) -> anyhow::Result<u64> {
        let status = self.status()?;
        let handlers = status["handlers"].as_array().into_iter().flatten();
        let found = handlers.into_iter().find(|entry| entry["name"] == handler);
        Ok(found
            .and_then(|entry| entry["fates"][fate].as_u64())
            .unwrap_or(0))
    }

    /// How many records a topic has taken.
    ///
    /// # Errors
    /// No status came, or it does not name the topic.
    pub fn records(&self, topic: &str) -> anyhow::Result<u64> {
        let status = self.status()?;
        let topics = status["topics"].as_array().into_iter().flatten();
        let found = topics
            .into_iter()
            .find(|entry| entry["name"] == topic)
            .and_then(|entry| entry["records"].as_u64());
        found.with_context(|| format!("no topic {topic} in {status}"))
    }

    /// Waits until every handler has given a fate to every event that it subscribes to.
    ///
    /// # Errors
    /// Some had not by the deadline.
    pub fn settle(&self, deadline: Duration) -> anyhow::Result<()> {
        wait::until("all handlers to have nothing open", deadline, || {
            let status = self.status()?;
            let handlers = status["handlers"]
                .as_array()
                .context("the status names no handlers")?;
            let done = |entry: &Value| entry["lag"] == 0 && entry["open"] == 0;
            anyhow::ensure!(
                !handlers.is_empty() && handlers.iter().all(done),
                "{}",
                status["handlers"]
            );
            Ok(Some(()))
        })
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> anyhow::Result<Answer> {
    let content_type = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(1 << 30)
        .read_to_string()
        .context("read the answer")?;
    Ok(Answer {
        status,
        content_type,
        body,
    })
}
