//! The suite that every scaler passes.

use async_trait::async_trait;
use scaler_api::{
    TriggerInput,
    conformance::{self, Harness, Outage},
};

use super::ForecastTrigger;

/// A file that the suite writes, and takes away to see what happens.
struct Folder(tempfile::TempDir);

#[async_trait]
impl Harness for Folder {
    type Trigger = ForecastTrigger;

    fn input(&self) -> TriggerInput {
        let file = self.0.path().join("load").display().to_string();
        TriggerInput {
            metadata: [("file".to_owned(), file)].into(),
            ..TriggerInput::default()
        }
    }

    async fn set_value(&self, value: f64) {
        std::fs::write(
            self.0.path().join("load"),
            format!("1970-01-01T00:00:00Z {value}\n"),
        )
        .unwrap();
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        let (here, away) = (self.0.path().join("load"), self.0.path().join("away"));
        let (from, to) = if outage.is_some() {
            (here, away)
        } else {
            (away, here)
        };
        std::fs::rename(from, to).ok();
    }

    fn outages(&self) -> &[Outage] {
        &[Outage::Down]
    }
}

#[tokio::test(start_paused = true)]
async fn it_conforms() {
    conformance::assert_conforms(&Folder(tempfile::tempdir().unwrap())).await;
}
