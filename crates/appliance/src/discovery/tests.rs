use serde_json::json;

use super::*;
use crate::testing::Gate;

/// As the real one, in a hurry.
const SHORT: Patience = Patience {
    whole: Duration::from_millis(400),
    settling: Duration::from_millis(100),
    look: Duration::from_millis(10),
};
/// It ends long before the settling does.
const UNSETTLED: Patience = Patience { settling: Duration::from_secs(60), ..SHORT };

async fn found(patience: Patience, status: u16, body: impl ToString) -> Result<Published, StepError> {
    let gate = Gate::new();
    gate.service(status, body);
    superlink(&gate.client(), patience).await
}

#[tokio::test]
async fn what_no_repetition_can_mend_ends_the_wait_once_the_service_has_settled() {
    let cases = [
        (400, "Empty or invalid SERVICE_ID", "refused (400): Empty or invalid SERVICE_ID"),
        (401, "Not authorized", "login refused: Not authorized"),
        (403, "no", "not permitted: no"),
        (404, "no", "not found: no"),
        (200, "<html>", "an answer that is not OpenNebula's"),
    ];
    for (status, body, words) in cases {
        let why = found(SHORT, status, body).await.err().unwrap();
        assert_eq!((why.code, why.exit), ("onegate_failed", 69));
        assert!(why.text.contains(words), "{}", why.text);
        // Before that it is waited for.
        let why = found(UNSETTLED, status, body).await.err().unwrap();
        assert_eq!((why.code, why.exit), ("superlink_not_found", 69));
        assert!(why.text.contains("no SuperLink within") && why.text.contains(words), "{}", why.text);
    }
}

#[tokio::test]
async fn a_service_without_a_superlink_is_told_from_one_that_is_not_up() {
    let service = |roles: serde_json::Value| json!({"SERVICE": {"id": "29", "roles": roles}});
    let why = found(SHORT, 200, service(json!([]))).await.err().unwrap();
    assert_eq!(why.text, "service 29 has no role superlink");
    let why = found(UNSETTLED, 200, service(json!([]))).await.err().unwrap();
    assert_eq!(why.text, "no SuperLink within 0 minutes: service 29 has no role superlink");
    let vm = json!({"VM": {"ID": "4", "USER_TEMPLATE": {"FL_STATE": "failed"}}});
    let roles = json!([{"name": "superlink", "nodes": [{"vm_info": vm}]}]);
    let why = found(SHORT, 200, service(roles)).await.err().unwrap();
    assert_eq!(why.text, "no SuperLink within 0 minutes: SuperLink VM 4 is failed");
}

#[tokio::test]
async fn what_the_superlink_says_is_read_as_it_stands() {
    let said = json!({"FL_ENDPOINT": "MTkyLjAuMi43OjkwOTI=", "FL_TLS": "YES", "FL_CA_CERT": "not base64"});
    let vm = json!({"VM": {"ID": "4", "USER_TEMPLATE": said}});
    let service =
        json!({"SERVICE": {"id": "29", "roles": [{"name": "superlink", "nodes": [{"vm_info": vm}]}]}});
    let found = found(SHORT, 200, service).await.unwrap();
    assert_eq!((found.endpoint.to_string().as_str(), found.tls, found.ca), ("192.0.2.7:9092", true, None));
}
