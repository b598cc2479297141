//! OneFlow's own references, `${role.template.context.eth0_ip}`: replaced from the first VM of a parent role, or removed.

use serde_json::Value;

/// Replaces every `${...}` in every text of `value`. `lookup` knows what a path stands for.
pub(crate) fn replace(value: &mut Value, lookup: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => *text = in_text(text, lookup),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, lookup)),
        Value::Object(map) => map.values_mut().for_each(|item| replace(item, lookup)),
        _ => {}
    }
}

fn in_text(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((path, tail)) = after.split_once('}') else { break };
        done.push_str(before);
        done.push_str(&lookup(path).unwrap_or_default());
        rest = tail;
    }
    done + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn replaces_or_removes() {
        let mut value = json!({"A": ["x${r.ip}y${nope}z", "${open", "$PLAIN $(id)"], "N": 1});
        replace(&mut value, &|path| (path == "r.ip").then(|| "1.2.3.4".to_owned()));
        assert_eq!(value, json!({"A": ["x1.2.3.4yz", "${open", "$PLAIN $(id)"], "N": 1}));
    }
}
