//! What came to light while a layout was made. All faults are told at once: nobody wants to correct a document one
//! run at a time.

use crate::error::{Error, Result};

/// Faults, which end the making of a layout, and warnings, which do not.
#[derive(Debug, Default)]
pub struct Findings {
    faults: Vec<Error>,
    warnings: Vec<String>,
}

impl Findings {
    /// Records a fault.
    pub fn fault(&mut self, error: Error) {
        self.faults.push(error);
    }

    /// Records something that a person should know.
    pub fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// The value, or nothing once its fault is recorded.
    pub fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(error);
                None
            }
        }
    }

    /// Ends here when there was a fault: what follows would only repeat it in other words.
    ///
    /// # Errors
    /// All faults as one error, see [`Error::join`].
    pub fn stop(&mut self) -> Result<()> {
        Error::join(std::mem::take(&mut self.faults)).map_or(Ok(()), Err)
    }

    /// The warnings, when all is done.
    pub fn into_warnings(self) -> Vec<String> {
        self.warnings
    }
}
