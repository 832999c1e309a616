//! Rules as people write them, from the JSON: for comments and lists. What has no short form is
//! shown as JSON.
//!
//! May not import a reader. Invariant: pure text; nothing is decided by it.

use serde_json::Value;

/// A rule in one line.
pub(super) fn rule(rule: &Value) -> String {
    let none = Vec::new();
    let statements = rule["expr"].as_array().unwrap_or(&none);
    let mut words: Vec<String> = statements.iter().map(statement).collect();
    if let Some(comment) = rule["comment"].as_str() {
        words.push(format!("comment \"{comment}\""));
    }
    words.join(" ")
}

fn statement(value: &Value) -> String {
    let Some((kind, body)) = value.as_object().and_then(|object| object.iter().next()) else {
        return value.to_string();
    };
    match kind.as_str() {
        "match" => {
            let op = match body["op"].as_str() {
                Some("==" | "in") | None => String::new(),
                Some(op) => format!("{op} "),
            };
            let right = match &body["right"] {
                Value::Bool(true) => "exists".into(),
                Value::Bool(false) => "missing".into(),
                right => expression(right),
            };
            format!("{} {op}{right}", expression(&body["left"]))
        }
        "jump" | "goto" => format!("{kind} {}", body["target"].as_str().unwrap_or_default()),
        "vmap" => format!(
            "{} vmap {}",
            expression(&body["key"]),
            expression(&body["data"])
        ),
        "reject" => match (body["type"].as_str(), body["expr"].as_str()) {
            (Some(kind), Some(code)) => format!("reject with {kind} {code}"),
            (Some(kind), None) => format!("reject with {kind}"),
            _ => "reject".into(),
        },
        "limit" => {
            let over = if body["inv"] == true { "over " } else { "" };
            let per = body["per"].as_str().unwrap_or("second");
            let unit = match body["rate_unit"].as_str() {
                Some(unit @ ("bytes" | "kbytes" | "mbytes")) => format!(" {unit}"),
                _ => String::new(),
            };
            format!("limit rate {over}{}{unit}/{per}", body["rate"])
        }
        "log" => match body["prefix"].as_str() {
            Some(prefix) => format!("log prefix \"{prefix}\""),
            None => "log".into(),
        },
        "counter" => "counter".into(),
        "set" => {
            let statements = body["stmt"].as_array().into_iter().flatten();
            let statements: Vec<String> = statements.map(statement).collect();
            format!(
                "{} {} {{ {} {} }}",
                body["op"].as_str().unwrap_or("add"),
                body["set"].as_str().unwrap_or_default(),
                expression(&body["elem"]),
                statements.join(" ")
            )
        }
        "dnat" | "snat" | "redirect" => {
            let to = [&body["addr"], &body["port"]];
            let to = to
                .into_iter()
                .filter(|part| !part.is_null())
                .map(expression);
            let to = to.collect::<Vec<_>>().join(":");
            if to.is_empty() {
                kind.clone()
            } else {
                format!("{kind} to {to}")
            }
        }
        _ if body.is_null() => kind.clone(),
        _ => format!("{kind} {body}"),
    }
}

fn expression(value: &Value) -> String {
    let list = |values: &[Value], between: &str| {
        values
            .iter()
            .map(expression)
            .collect::<Vec<_>>()
            .join(between)
    };
    match value {
        Value::String(text) => return text.clone(),
        Value::Array(values) => {
            // A pair of a map, or words that any of which will do.
            return match values.as_slice() {
                [key, action] if action.is_object() => {
                    format!("{} : {}", expression(key), statement(action))
                }
                values => list(values, ","),
            };
        }
        Value::Object(_) => {}
        other => return other.to_string(),
    }
    let Some((kind, body)) = value.as_object().and_then(|object| object.iter().next()) else {
        return value.to_string();
    };
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    let array = body.as_array().map_or(&[][..], Vec::as_slice);
    match kind.as_str() {
        "payload" if body["protocol"].is_string() => {
            format!("{} {}", text("protocol"), text("field"))
        }
        "payload" if body["base"].is_string() => {
            format!("@{},{},{}", text("base"), body["offset"], body["len"])
        }
        "ip option" | "exthdr" if body["field"].is_null() => format!("{kind} {}", text("name")),
        "meta" => match text("key") {
            key @ ("iif" | "iifname" | "oif" | "oifname") => key.to_owned(),
            key => format!("meta {key}"),
        },
        "ct" => format!("ct {}", text("key")),
        "fib" => format!(
            "fib {} {}",
            list(
                body["flags"].as_array().map_or(&[][..], Vec::as_slice),
                " . "
            ),
            text("result")
        ),
        "prefix" => format!("{}/{}", text("addr"), body["len"]),
        "range" => list(array, "-"),
        "set" => format!("{{ {} }}", list(array, ", ")),
        "concat" => list(array, " . "),
        "elem" => expression(&body["val"]),
        "&" | "|" => list(array, &format!(" {kind} ")),
        _ => value.to_string(),
    }
}
