//! AWS Signature Version 4, given to a request at the moment of sending: it is good for minutes
//! only, and a request may wait for its limit much longer.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use secrecy::{ExposeSecret, SecretString};

use super::SendError;

/// Signs requests to one service in one region.
#[derive(Debug)]
pub struct Signer {
    credentials: Credentials,
    region: String,
    service: String,
}

impl Signer {
    /// Signs with a key of AWS. `session_token` belongs to temporary keys; `None` for others.
    #[must_use]
    pub fn new(
        key_id: &str,
        secret_key: &SecretString,
        session_token: Option<&SecretString>,
        region: &str,
        service: &str,
    ) -> Self {
        let token = session_token.map(|token| token.expose_secret().to_owned());
        let secret = secret_key.expose_secret();
        let credentials = Credentials::new(key_id, secret, token, None, "given to this program");
        Self {
            credentials,
            region: region.to_owned(),
            service: service.to_owned(),
        }
    }

    /// Adds the headers of a signature over method, path, query, body, and the headers `host` and
    /// `content-type`. What a proxy may change is no part of it.
    pub(super) fn sign(
        &self,
        request: &mut http::Request<Bytes>,
        now: SystemTime,
    ) -> Result<(), SendError> {
        let failed = |what: &str| SendError::Connect(format!("cannot sign the request: {what}"));
        let identity = self.credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(&error.to_string()))?
            .into();
        let text = |name| request.headers().get(name)?.to_str().ok();
        let host: &str = text(HOST).unwrap_or_default();
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let uri = format!("https://{host}{target}");
        let headers = [("host", Some(host)), ("content-type", text(CONTENT_TYPE))];
        let headers = headers
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let body = SignableBody::Bytes(request.body());
        let method = request.method().as_str();
        let signable = SignableRequest::new(method, uri, headers, body)
            .map_err(|error| failed(&error.to_string()))?;
        let signed = sign(signable, &params).map_err(|error| failed(&error.to_string()))?;
        let (instructions, _) = signed.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    /// 2015-08-30T12:36:00Z.
    const NOON: u64 = 1_440_938_160;

    /// The headers that a signature adds, in lower case.
    fn signed(
        [method, uri, content_type, body]: [&'static str; 4],
        [region, service]: [&str; 2],
        token: Option<&str>,
        unix_s: u64,
    ) -> http::HeaderMap {
        let uri: http::Uri = uri.parse().unwrap();
        let mut request = http::Request::new(Bytes::from_static(body.as_bytes()));
        *request.method_mut() = method.parse().unwrap();
        request
            .headers_mut()
            .insert(HOST, uri.host().unwrap().parse().unwrap());
        if !content_type.is_empty() {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        *request.uri_mut() = uri;
        let token = token.map(SecretString::from);
        let secret = SecretString::from(SECRET);
        let signer = Signer::new("AKIDEXAMPLE", &secret, token.as_ref(), region, service);
        let now = UNIX_EPOCH + Duration::from_secs(unix_s);
        signer.sign(&mut request, now).unwrap();
        request.headers().clone()
    }

    fn authorization(headers: &http::HeaderMap) -> &str {
        headers["authorization"].to_str().unwrap()
    }

    /// The vectors of AWS's own signing test suite
    /// (<https://github.com/awslabs/aws-c-auth/tree/main/tests/aws-signing-test-suite/v4>), of the
    /// suite before it, and of the guide to Signature Version 4.
    #[test]
    fn published_vectors_come_out_to_the_last_digit() {
        let form = "application/x-www-form-urlencoded";
        let charset = "application/x-www-form-urlencoded; charset=utf-8";
        let arn = "https://lambda.us-east-2.amazonaws.com/2015-03-31/functions/\
                   arn%3Aaws%3Alambda%3Aus-west-2%3A892717189312%3Afunction%3Amy-rusty-fun/invocations";
        let users = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08";
        let root = "https://example.amazonaws.com/";
        let example = ["us-east-1", "service"];
        for (request, place, unix_s, names, signature) in [
            (
                ["POST", root, "", ""],
                example,
                NOON,
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                ["POST", root, form, "Param1=value1"],
                example,
                NOON,
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                ["GET", users, charset, ""],
                ["us-east-1", "iam"],
                NOON,
                "content-type;host;x-amz-date",
                "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ),
            (
                ["POST", arn, "", ""],
                ["us-east-2", "lambda"],
                1_620_747_645,
                "host;x-amz-date",
                "4b93abbcc68be32bd64c18e2c71150660ab4c29bbd6c32a383a7517a88fc1804",
            ),
        ] {
            let headers = signed(request, place, None, unix_s);
            let said = authorization(&headers);
            assert!(
                said.ends_with(&format!("SignedHeaders={names}, Signature={signature}")),
                "{said}"
            );
        }
    }

    #[test]
    fn a_session_token_is_sent_and_signed() {
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMi\
                     cRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZam\
                     pKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7\
                     ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/\
                     oLxBA==";
        let request = ["POST", "https://example.amazonaws.com/", "", ""];
        let headers = signed(request, ["us-east-1", "service"], Some(token), NOON);
        assert_eq!(headers["x-amz-security-token"], token);
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(
            authorization(&headers),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-security-token, \
             Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
        );
    }

    #[test]
    fn a_signer_shows_no_secret() {
        let secret = SecretString::from(SECRET);
        let token = SecretString::from("the-token");
        let signer = Signer::new("AKIDEXAMPLE", &secret, Some(&token), "r", "s");
        let shown = format!("{signer:?}");
        assert!(
            !shown.contains("wJalr") && !shown.contains("the-token"),
            "{shown}"
        );
    }
}
