//! What is answered: health, the page, decisions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball::sampling::decision::Reason;

use crate::bed::{Bed, HOSTILE, hostile, policy, service, shop, snapshot};
use crate::cases::Outcome;

pub(crate) fn ready_before_policies() -> Outcome {
    let bed = Bed::new(snapshot(Vec::new()));
    assert_eq!(bed.get("/livez").status, 200);
    let ready = bed.get("/readyz");
    assert_eq!((ready.status, ready.json()), (200, serde_json::json!({"ready": true, "degraded": []})));
    assert_eq!(bed.get("/api/v1/decisions").json(), serde_json::json!([]));
    assert!(bed.get("/").body.contains("No policy has decided anything yet"));
    Ok(())
}

pub(crate) fn ready_when_degraded() -> Outcome {
    let bed = Bed::new(shop());
    for (generation, reason) in
        [Reason::Stale, Reason::Outage, Reason::Fallback, Reason::Partial].into_iter().enumerate()
    {
        let mut degraded = policy("shop", Vec::new());
        degraded.degraded = Some(reason);
        let mut next = snapshot(vec![degraded]);
        next.generation += generation as u64;
        bed.published.publish(next);
        let ready = bed.get("/readyz");
        let expected = serde_json::json!({"ready": true, "degraded": [reason.as_str()]});
        assert_eq!((ready.status, ready.json()), (200, expected));
        assert!(bed.get("/metrics").body.contains(&format!("flyball_degraded{{reason=\"{}\"}} 1.0", reason.as_str())));
        assert!(bed.get("/").body.contains("Degraded, and still answering"));
    }
    Ok(())
}

pub(crate) fn status_tells() -> Outcome {
    let status = Bed::new(shop()).get("/status").json();
    assert_eq!(status["version"], "1.2.3-test");
    assert_eq!(status["generation"], 1_795_000_000_000_u64);
    assert_eq!(status["policies"][0]["policy"], "shop");
    assert_eq!(status["policies"][0]["law"], "adaptive");
    assert_eq!(status["policies"][0]["services"], 2);
    assert!(status["policies"][0]["source_age_seconds"].as_f64().is_some_and(|age| (3.0..20.0).contains(&age)));
    assert!(status["uptime_seconds"].as_f64().is_some_and(|uptime| (0.0..20.0).contains(&uptime)));
    assert_eq!(status["paths"]["policies"], "policies");
    Ok(())
}

pub(crate) fn page_is_complete() -> Outcome {
    let bed = Bed::new(shop());
    let page = bed.get("/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html; charset=utf-8"), "{}", page.head);
    assert!(page.head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{}", page.head);
    assert!(page.head.contains("x-content-type-options: nosniff"));
    for text in ["checkout", "GET /cart/{id}", "Its fair share is 1,012 of the budget of 6,000 spans/s.", "0.21 %"] {
        assert!(page.body.contains(text), "{text} is not on the page");
    }
    for (path, kind) in [("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")] {
        assert!(page.body.contains(&format!("assets/{path}")));
        let asset = bed.get(&format!("/assets/{path}"));
        assert!(asset.status == 200 && asset.head.contains(&format!("content-type: {kind}")), "{}", asset.head);
    }
    assert!(bed.get("/?q=SEAR").body.contains("<bdi>search</bdi>") && !bed.get("/?q=x").body.contains("<bdi>"));
    Ok(())
}

pub(crate) fn hostile_names() -> Outcome {
    let bed = Bed::new(hostile());
    let page = bed.get("/").body;
    assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert(1)"), "{page}");
    assert_eq!(bed.get("/api/v1/decisions").json()[0]["service"], HOSTILE);
    let metrics = bed.get("/metrics").body;
    let line = metrics.lines().find(|line| line.starts_with("flyball_sampling_probability{")).expect("one service");
    assert!(
        line.contains(r#"service="\"><script>alert(1)</script>\\\n{x=\"y\"} 1"#) && line.ends_with("} 0.5"),
        "{line}"
    );
    let search = bed.get("/?q=%22%3E%3Cscript%3Ealert(1)").body;
    assert!(!search.contains("<script>alert"));
    Ok(())
}

pub(crate) fn own_row_first() -> Outcome {
    let bed = Bed::new(shop());
    let rows = bed.get("/api/v1/decisions/checkout").json();
    assert_eq!(rows.as_array().map(Vec::len), Some(3));
    let own = &rows[0];
    assert_eq!((own["service"].as_str(), own["operation"].is_null()), (Some("checkout"), true));
    assert_eq!((own["probability"].as_f64(), own["served"].as_f64()), (Some(0.25), Some(0.25)));
    assert_eq!((own["reason"].as_str(), own["policy"].as_str()), (Some("share"), Some("shop")));
    let inputs = own["inputs"].as_object().expect("inputs");
    let names: BTreeSet<&str> = inputs.keys().map(String::as_str).collect();
    let expected = [
        "age_seconds",
        "budget_reason",
        "budget_spans_per_second",
        "demand_per_second",
        "expected_traces_per_second",
        "loss_ratio",
        "received_per_second",
        "share_spans_per_second",
        "share_traces_per_second",
        "spans_per_trace",
    ];
    assert_eq!(names, expected.into());
    assert_eq!(rows[1]["operation"], "GET /cart/{id}");
    assert_eq!(rows[1]["inputs"]["demand_per_second"], 400.0);
    Ok(())
}

pub(crate) fn percent_encoded() -> Outcome {
    let names = ["a b", "team/checkout", "é", "100%", "?x=1", "\"><script>"];
    let services = names.iter().map(|name| service(name, 0.5, Reason::Share)).collect::<Vec<_>>();
    let mut decided = policy("shop", services);
    decided.services.sort_by(|a, b| a.service.cmp(&b.service));
    let bed = Bed::new(snapshot(vec![decided]));
    for name in names {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(bed.get(&format!("/api/v1/decisions/{encoded}")).json()[0]["service"], name);
    }
    assert_eq!(bed.get("/api/v1/decisions/team/checkout").json()[0]["service"], "team/checkout");
    let broken = bed.get("/api/v1/decisions/%ff");
    assert_eq!((broken.status, broken.json()["error"].is_string()), (400, true));
    Ok(())
}

pub(crate) fn unknown_service() -> Outcome {
    let mut only_checkout = shop();
    let mut rules = flyball::sampling::policy::Policy::with_defaults("shop");
    rules.services[0].pattern = flyball::sampling::pattern::Pattern::new("check*").expect("a pattern");
    only_checkout.policies = vec![Arc::new(rules)];
    let bed = Bed::new(only_checkout);
    let stranger = bed.get("/api/v1/decisions/nobody");
    assert_eq!((stranger.status, stranger.json()["served"].as_f64()), (404, Some(0.001)));
    assert!(stranger.body.contains("no policy matches its name") && stranger.body.contains("told 0.001"));
    let claimed = bed.get("/api/v1/decisions/checker");
    assert_eq!((claimed.status, claimed.json()["policy"].as_str()), (404, Some("shop")));
    Ok(())
}

pub(crate) fn wrong_paths_and_methods() -> Outcome {
    let bed = Bed::new(shop());
    for path in ["/nothing", "/api/v1/", "/api/v1/decisions/", "/assets/../Cargo.toml", "//"] {
        let reply = bed.get(path);
        assert_eq!((reply.status, reply.json()["error"].is_string()), (404, true), "{path}");
    }
    for (method, path, allow) in
        [("GET", "/-/reload", "post"), ("POST", "/status", "get,head"), ("DELETE", "/", "get,head")]
    {
        let reply = bed.ask(method, path, &[]);
        assert_eq!((reply.status, reply.json()["error"].is_string()), (405, true), "{method} {path}");
        assert!(reply.head.contains(&format!("allow: {allow}")), "{method} {path}: {}", reply.head);
    }
    let head = bed.ask("HEAD", "/status", &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let large = bed.ask("GET", &format!("/{}", "x".repeat(64 << 10)), &[]);
    assert!((400..500).contains(&large.status), "{}", large.status);
    Ok(())
}

pub(crate) fn many_rows() -> Outcome {
    let services = (0..33_334).map(|i| service(&format!("service-{i:06}"), 0.1, Reason::Share)).collect();
    let bed = Bed::new(snapshot(vec![policy("shop", services)]));
    let start = Instant::now();
    let reply = bed.get("/api/v1/decisions");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(reply.body.matches("\"policy\":").count(), 3 * 33_334);
    assert_eq!(reply.json().as_array().map(Vec::len), Some(3 * 33_334));
    let metrics = bed.get("/metrics").body;
    assert_eq!(metrics.matches("\nflyball_sampling_probability{").count(), 10_000);
    assert!(metrics.contains("flyball_sampling_services_unlisted 23334.0"));
    assert!(bed.get("/").body.len() < 2 << 20);
    Ok(())
}
