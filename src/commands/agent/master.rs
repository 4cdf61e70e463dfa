//! The embedded master's calls beside discovery.

use serde::Serialize;

use super::Released;
use crate::commands::answer;
use crate::error::{Context as _, Error, Kind, Result};
use crate::http::{Client, Method, Response, Url, excerpt};
use crate::inventory::Inventory;
use crate::netboot;
use crate::report::Report;
use crate::request::Secret;

/// A request is some ten kilobytes.
const DOCUMENT_LIMIT: u64 = 4 << 20;

/// Answers whose body only matters when they are errors.
const ANSWER_LIMIT: u64 = 64 << 10;

/// The digest of the plan that the person who released the node saw.
const PLAN_DIGEST_HEADER: &str = "x-bedplate-plan-digest";

/// The master of this node.
pub(super) struct Master {
    client: Client,
    base: String,
    token: Option<Secret>,
}

/// What a master said when it was asked for a request.
pub(super) enum Word {
    /// A request is released for this node.
    Released(Released),
    /// Nothing to do.
    Nothing,
    /// It hands out no requests to this node, and why.
    Never(String),
}

impl Master {
    pub(super) fn new(client: Client, base: &str, token: Option<Secret>) -> Self {
        Self { client, base: base.trim_end_matches('/').to_owned(), token }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The address without a password that may stand in it.
    pub(super) fn shown(&self) -> String {
        self.base.parse::<Url>().map_or_else(|_| "the master".to_owned(), |url| url.to_string())
    }

    pub(super) fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// The address of something about a node.
    pub(super) fn url(&self, node: u64, what: &str) -> String {
        format!("{}/api/nodes/{node}/{what}", self.base)
    }

    /// Sends the inventory; says whether the master takes such a thing at all.
    pub(super) fn put_inventory(&self, node: u64, inventory: &Inventory) -> Result<bool> {
        let sending = || "sending the inventory";
        let response = self.send(Method::PUT, node, "inventory", Some(inventory)).context(Kind::Master, sending)?;
        match response.status() {
            // Nailgun knows no such address.
            404 | 405 => Ok(false),
            _ => accepted(response).map(|()| true).map_err(|error| error.within(sending())),
        }
    }

    /// Asks for a released request.
    pub(super) fn ask(&self, node: u64) -> Result<Word> {
        let asking = || "asking the master for a request";
        let response = self.send::<()>(Method::GET, node, "request", None).context(Kind::Master, asking)?;
        answer::follow_clock(&response);
        let plan_digest = response.header(PLAN_DIGEST_HEADER).map(str::to_owned);
        match response.status() {
            204 => Ok(Word::Nothing),
            200 => {
                let document = answer::body(response, DOCUMENT_LIMIT).map_err(|error| error.within(asking()))?;
                // A proxy's or another server's page is no request; what is wrong inside one is the run's to report.
                let is_document =
                    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&document).is_ok();
                if !is_document {
                    let said = excerpt(&document);
                    return Err(Error::new(
                        Kind::Master,
                        format!("{}: it answers 200 OK with no JSON object: {said}", asking()),
                    ));
                }
                Ok(Word::Released(Released { document, plan_digest }))
            }
            403 => Ok(Word::Never("it does not accept the token of this boot".to_owned())),
            404 | 405 => Ok(Word::Never("it hands out no requests".to_owned())),
            _ => {
                let words = response.status_text();
                Err(Error::new(Kind::Master, format!("{}: it answers {words}", asking())))
            }
        }
    }

    /// Sends the report of a run.
    pub(super) fn post_report(&self, node: u64, report: &Report) -> Result<()> {
        let sending = || "sending the report";
        let response = self.send(Method::POST, node, "report", Some(report)).context(Kind::Master, sending)?;
        match response.status() {
            404 | 405 => Ok(()),
            _ => accepted(response).map_err(|error| error.within(sending())),
        }
    }

    /// Switches network boot off and reads it back.
    pub(super) fn netboot_off(&self, node: u64) -> Result<()> {
        match &self.token {
            Some(token) => netboot::master::off(&self.client, &self.base, node, token),
            None => Err(Error::new(Kind::Master, "switching network boot off: this boot has no token")),
        }
    }

    fn send<T: Serialize>(
        &self,
        method: Method,
        node: u64,
        what: &str,
        body: Option<&T>,
    ) -> Result<Response, crate::http::Error> {
        let url = self.url(node, what);
        let mut request = self.client.request(method, &url).answer_within(answer::WITHIN);
        if let Some(token) = &self.token {
            request = request.bearer(token);
        }
        match body {
            Some(body) => request.json(body).send(),
            None => request.send(),
        }
    }
}

fn accepted(response: Response) -> Result<()> {
    let (status, words) = (response.status(), response.status_text());
    if (200..300).contains(&status) {
        return Ok(());
    }
    let said = answer::body(response, ANSWER_LIMIT).map(|body| excerpt(&body)).unwrap_or_default();
    Err(Error::new(Kind::Master, format!("it answers {words}: {said}")))
}
