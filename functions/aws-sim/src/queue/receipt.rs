//! Receipt handles, which are opaque to the caller and new at every receive.

use super::error::QueueError;

/// One receive of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    /// The message's id.
    pub(super) message: String,
    /// The number of the receive, counted from 1.
    pub(super) receive: u32,
}

impl Receipt {
    /// Returns the handle for the consumer.
    pub(super) fn to_handle(&self) -> String {
        let text = format!("{}#{}", self.receive, self.message);
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(text)
    }

    /// Parses a handle.
    ///
    /// # Errors
    /// [`QueueError::ReceiptHandleIsInvalid`].
    pub(super) fn parse(handle: &str) -> Result<Self, QueueError> {
        let parsed = || {
            let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(handle).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (receive, message) = text.split_once('#')?;
            Some(Self {
                message: message.to_owned(),
                receive: receive.parse().ok()?,
            })
        };
        parsed().ok_or(QueueError::ReceiptHandleIsInvalid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn receipts_round_trip_through_the_handle(message in any::<String>(), receive in any::<u32>()) {
            let receipt = Receipt { message, receive };
            prop_assert_eq!(Receipt::parse(&receipt.to_handle()).unwrap(), receipt);
        }

        #[test]
        fn the_parser_never_panics(handle in any::<String>()) {
            let _ = Receipt::parse(&handle);
        }
    }

    #[test]
    fn foreign_handle_is_invalid() {
        assert!(matches!(
            Receipt::parse("not-a-handle"),
            Err(QueueError::ReceiptHandleIsInvalid)
        ));
    }
}
