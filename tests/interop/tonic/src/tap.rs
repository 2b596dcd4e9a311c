// SPDX-License-Identifier: Apache-2.0
//! What a case is, and how it is told: TAP on standard output.

use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use tokio::time::timeout;
use tonic::{Code, Status};

const CASE_SECONDS: u64 = 30;

pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Default)]
pub struct Tap {
    cases: u32,
    failed: u32,
}

impl Tap {
    /// Runs a case; it fails by an error, or when it takes too long.
    pub async fn case(
        &mut self,
        name: &str,
        body: impl Future<Output = Outcome>,
    ) {
        self.cases += 1;
        let limit = Duration::from_secs(CASE_SECONDS);
        let outcome = match timeout(limit, body).await {
            Ok(outcome) => outcome,
            Err(_) => Err("it took too long".into()),
        };
        match outcome {
            Ok(()) => println!("ok {} - {name}", self.cases),
            Err(error) => {
                self.failed += 1;
                println!("not ok {} - {name}\n# {error}", self.cases);
            }
        }
    }

    /// Prints the plan; the exit status.
    pub fn end(&self) -> u8 {
        println!("1..{}", self.cases);
        u8::from(self.failed > 0)
    }
}

pub fn equal<T: Debug + PartialEq>(actual: T, expected: T) -> Outcome {
    if actual == expected {
        return Ok(());
    }
    let text = format!("{actual:?}, expected {expected:?}");
    Err(text.chars().take(500).collect::<String>().into())
}

pub fn refused<T>(
    result: Result<T, Status>,
    code: Code,
    message: &str,
) -> Outcome {
    let status = result.err().ok_or("it was not refused")?;
    equal((status.code(), status.message()), (code, message))
}
