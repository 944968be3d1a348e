//! `flyball explain` against the socket.

use std::sync::Arc;

use flyball::controller::usage::Usage;
use flyball::sampling::decision::Reason;

use crate::bed::{Bed, HOSTILE, explain, hostile, policy, rate, service, shop, snapshot};
use crate::cases::Outcome;

fn explained(bed: &Bed, arguments: &[&str]) -> String {
    let admin = format!("http://{}", bed.address);
    let output = explain(&[arguments, &["--admin", &admin]].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

pub(crate) fn explain_says_why() -> Outcome {
    let mut decided = policy("shop", vec![service("checkout", 0.25, Reason::Share)]);
    decided.services[0].rate.served = rate(0.1, Reason::Share).probability;
    let mut dry_run = snapshot(vec![decided]);
    let mut rules = flyball::sampling::policy::Policy::with_defaults("shop");
    rules.mode = flyball::sampling::policy::Mode::DryRun;
    dry_run.policies = vec![Arc::new(rules)];
    let bed = Bed::new(dry_run);
    let text = explained(&bed, &["checkout"]);
    assert_says(
        &text,
        &[
            "shop (dry run)",
            "0.1 served",
            "0.25 would be served",
            "Its fair share is 1,012 of the budget of 6,000 spans/s.",
            "[share]",
            "a larger `weight`",
            "500 requests/s",
            "loss 0.21 %",
            "8.1 spans a trace",
            "keep to 150 traces/s together; 125 expected",
            "input that was 3.0 s old",
            "GET /cart/{id}",
            "not reported",
            "generation 1795000000000",
        ],
    );
    assert_says(&explained(&bed, &["checkout", "POST /order"]), &["checkout: POST /order", "100 requests/s"]);
    assert_says(&explained(&bed, &["checkout", "PUT /x"]), &["PUT /x is not listed"]);
    Ok(())
}

pub(crate) fn explain_unmatched() -> Outcome {
    let mut with_usage = shop();
    let usage = Usage { matched: ["POST /order".into()].into(), unlisted: ["GET".into(), "PATCH".into()].into() };
    with_usage.usage.insert("checkout".into(), Arc::new(usage));
    let bed = Bed::new(with_usage);
    let text = explained(&bed, &["checkout"]);
    assert_says(
        &text,
        &["Answered but never matched", "    GET /cart/{id}\n", "no answer lists", "    GET\n    PATCH\n"],
    );
    assert!(!text.contains("    POST /order\n"), "{text}");
    assert_says(&explained(&bed, &["checkout", "GET /cart/{id}"]), &["never matched"]);
    assert_says(&explained(&bed, &["checkout", "PATCH"]), &["SDKs did meet root spans of that name"]);
    Ok(())
}

fn failed(arguments: &[&str], status: i32) -> String {
    let output = explain(arguments);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(status), 0));
    String::from_utf8(output.stderr).expect("UTF-8")
}

pub(crate) fn explain_unknown() -> Outcome {
    let bed = Bed::new(shop());
    let error = failed(&["nobody", "--admin", &format!("http://{}/", bed.address)], 1);
    assert_says(&error, &["no decision on this service", "told 0.001"]);
    Ok(())
}

pub(crate) fn explain_without_server() -> Outcome {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let error = failed(&["checkout", "--admin", &format!("http://127.0.0.1:{port}")], 1);
    assert_says(&error, &["no Flyball answers at http://127.0.0.1:", "refused"]);
    Ok(())
}

pub(crate) fn explain_bad_url() -> Outcome {
    assert_says(&failed(&["checkout", "--admin", "localhost:5780"], 2), &["http://HOST:PORT"]);
    Ok(())
}

pub(crate) fn explain_hostile() -> Outcome {
    let text = explained(&Bed::new(hostile()), &[HOSTILE]);
    assert!(!text.contains(['\u{1b}', '\u{202e}']) && text.contains(r"\u{1b}[2J"), "{text}");
    Ok(())
}
