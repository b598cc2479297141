//! stub
use crate::StepError;
use crate::service::{Change, Service};
pub(crate) struct Systemd;
impl Systemd {
    pub(crate) fn new(_dir: &std::path::Path) -> Self {
        Self
    }
    pub(crate) async fn apply(&mut self, _w: &[Service]) -> Result<Vec<(String, Change)>, StepError> {
        Ok(Vec::new())
    }
    pub(crate) async fn runs(&self, _n: &str) -> bool {
        false
    }
    pub(crate) async fn check(&self) -> Result<(), StepError> {
        Ok(())
    }
    pub(crate) async fn last_lines(&self, _n: &str) -> Vec<String> {
        Vec::new()
    }
}
