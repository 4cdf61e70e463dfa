//! The embedded master's switch.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::State;
use crate::error::{Context as _, Error, Kind, Result};
use crate::http::{Client, Method};
use crate::request::Secret;

/// The answer is one short object.
const ANSWER_LIMIT: u64 = 4096;

/// A master that has not answered by then is asked again by whoever wants to.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

#[derive(Serialize, Deserialize)]
struct Switch {
    enabled: bool,
}

/// The embedded master and this node there.
#[derive(Debug, Clone)]
pub struct Access {
    /// The master's address, which may hold a login.
    pub url: Secret,
    /// The node's id.
    pub node: u64,
    /// The token of this boot.
    pub token: Secret,
}

/// Switches network boot of node `node_id` off at the embedded master, and reads back that it is off.
///
/// # Errors
/// `Master` when it is unreachable, refuses, or does not say that network boot is off afterwards.
pub fn off(client: &Client, base: &str, node_id: u64, token: &Secret) -> Result<()> {
    set(client, base, node_id, token, false)
}

/// Switches network boot of node `node_id` on or off at the embedded master, and reads it back.
///
/// # Errors
/// `Master` when it is unreachable, refuses, or does not say the same afterwards.
pub fn set(client: &Client, base: &str, node_id: u64, token: &Secret, enabled: bool) -> Result<()> {
    let url = format!("{}/api/nodes/{node_id}/netboot", base.trim_end_matches('/'));
    let switching = || State::of(enabled).switching();
    let call = |method: Method| {
        let request = client.request(method.clone(), &url).bearer(token).answer_within(ANSWER_WITHIN);
        let request = if method == Method::PUT { request.json(&Switch { enabled }) } else { request };
        let answer = request.send().context(Kind::Master, switching)?;
        if answer.status() != 200 {
            let (address, words) = (answer.url().to_string(), answer.status_text());
            return Err(Error::new(Kind::Master, format!("{}: {method} {address}: {words}", switching())));
        }
        answer.json::<Switch>(ANSWER_LIMIT).context(Kind::Master, switching)
    };
    call(Method::PUT)?;
    if call(Method::GET)?.enabled == enabled {
        return Ok(());
    }
    Err(Error::new(Kind::Master, format!("{}: the master says otherwise when asked back", switching())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Settings;

    #[test]
    fn error_does_not_show_a_password_in_the_masters_address() {
        let client = Client::new(&Settings::default()).unwrap();
        // Port 1 on loopback: nobody listens there.
        let error = off(&client, "http://u:hunter2@127.0.0.1:1", 7, &Secret::new("t0ken")).unwrap_err();
        assert_eq!(error.kind(), Kind::Master);
        let words = error.to_string();
        assert!(words.starts_with("switching network boot off: "), "{words}");
        assert!(!words.contains("hunter2") && !words.contains("t0ken"), "{words}");
    }
}
