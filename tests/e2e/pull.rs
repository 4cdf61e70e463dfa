//! Pull: a node that nobody knows is discovered, released by a person, installs itself and reports home.

use bedplate::report::EventKind;

use crate::harness::http::{Reply, Server};
use crate::harness::installed;
use crate::harness::journey::Journey;
use crate::harness::scenario::{self, Scenario};
use crate::harness::ssh::Ssh;

#[test]
fn pull() {
    scenario::run("pull", |scenario| {
        let pxe = Server::start();
        pxe.route("/pxe/", |_| Reply::text("done"));
        let mut journey = Journey::begin(scenario, 1, false, &switched_by(&pxe, &scenario.secret("pxe-token")));
        let blank = journey.system.content();
        journey.is_discovered();
        let now = journey.system.content();
        assert_eq!(now, blank, "content of the disk of a node that nobody released");

        let plan = journey.release();
        assert!(plan.contains("SYSTEM"), "the operator is shown a plan that names the disk: {plan}");
        let root = journey.node.ssh("root", scenario.key());
        let mut steps = Vec::new();
        journey.is_provisioned(|event| {
            let step = event.step.clone().unwrap_or_default();
            if event.kind == EventKind::StepStarted && !steps.contains(&step) {
                steps.push(step);
                if steps.len() == 1 {
                    look_into_the_bootstrap(scenario, &root);
                }
                scenario.tell(event.step.as_deref().unwrap_or_default());
            }
        });
        assert!(steps.len() > 3, "steps that the master was told of: {steps:?}");
        assert_eq!(steps[steps.len() - 3..], ["verify", "keep-report", "netboot-off"], "the last steps of the run");
        is_switched_once(&pxe, journey.node.mac());

        let account = journey.is_ready();
        let hostname = journey.details()["phone_home"]["hostname"].as_str().unwrap_or_default().to_owned();
        installed::check(&account, &account.ask("hostname -f"));
        assert_eq!(account.ask("hostname"), hostname, "host name that cloud-init reported");
        scenario.keep("installed-processes.log", &account, "ps -ef");
        let found = scenario.secrets_in_guest(&account, "/var/log/bedplate /var/log/fuel-agent.log");
        assert!(found.is_empty(), "secrets of the request stand in logs of the installed system: {found:?}");

        nothing_arms_itself_again(&mut journey, &account);
        scenario.tell(&format!("the master used {:.1} CPU s", journey.master.cpu_seconds()));
    });
}

/// What a profile says of a service that switches network boot beside the master.
fn switched_by(pxe: &Server, token: &str) -> String {
    format!(
        "\n[extra.bedplate.netboot]\ntype = \"hook\"\nurl = \"{}/pxe/{{{{mac}}}}\"\ntoken = \"{token}\"\n\
         body = '{{\"netboot\": {{{{enabled}}}}}}'\n",
        pxe.url()
    )
}

fn is_switched_once(pxe: &Server, mac: &str) {
    let calls: Vec<_> = pxe.requests("/pxe/").into_iter().map(|it| (it.method, it.path, it.body)).collect();
    let expected = ("POST".to_owned(), format!("/pxe/{mac}"), b"{\"netboot\": false}".to_vec());
    assert_eq!(calls, [expected], "calls of the service that switches network boot");
}

/// While the node installs itself: its processes and logs.
fn look_into_the_bootstrap(scenario: &Scenario, root: &Ssh) {
    root.wait_until_ready(30);
    scenario.keep("bootstrap-processes.log", root, "ps -ef 2>/dev/null || ps");
    scenario.keep("agent.log", root, "cat /var/log/bedplate/*.log /var/log/fuel-agent.log");
    let found = scenario.secrets_in_guest(root, "/var/log /run");
    assert!(found.is_empty(), "secrets of the request stand in files of the bootstrap: {found:?}");
}

/// Network boot comes first in the machine's order, and the master sends it to its disk: once more its own boot loader
/// starts.
fn nothing_arms_itself_again(journey: &mut Journey, account: &Ssh) {
    let mark = journey.node.serial().mark();
    account.say("sudo -n systemctl reboot");
    journey.node.wait_for_line("its own boot loader", mark, |line| line == "GRUB loading.", 60);
    assert_eq!(journey.details()["status"], "ready", "status after one more network boot");
}
