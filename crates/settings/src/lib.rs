//! Values of settings, and the network and system code that they configure. Other crates compose their settings from
//! these values.
//!
//! - Values: secrets, sizes, periods, ids, names, and the kind of each key for the rules of tenants.
//! - Network: HTTP clients with TLS, proxies, pins and a resolver; the text of a failed request; calls to Kubernetes.
//! - System: files that are read with limits, and written for the owner alone.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod backoff;
mod client_error;
mod dial;
mod file_path;
mod file_system;
mod http;
mod id;
mod identity_tokens;
mod kind;
mod known_secrets;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
mod name;
mod no_proxy;
mod own_variables;
mod period;
mod pin;
mod private;
mod proxy;
mod reachable;
mod read_file;
mod renewable_client;
mod request_error;
mod request_way;
mod resolver;
mod retry_after;
mod secret;
mod secret_object;
mod secrets;
mod server_tls;
mod size;
mod tls;

pub use backoff::{FullJitter, RetrySettings};
pub use client_error::{ClientError, Role};
pub use dial::{DialError, Dialer, Dialled};
pub use file_path::{FOR_A_SHELL, FilePath, is_for_a_shell, quoted};
pub use file_system::{Answers, ask_file_system};
pub use http::{HttpSettings, LOCAL_WAY, install_crypto_provider, local_client};
pub use id::{Id, IdError};
pub use identity_tokens::is_identity_token_path;
pub use kind::SettingKind;
pub use known_secrets::KnownSecrets;
pub use name::{NameError, check_name, is_namespace};
pub use own_variables::is_own_variable;
pub use period::{Period, PeriodError};
pub use pin::{Fingerprint, FingerprintError};
pub use private::{PRIVATE_FILE_MODE, check_private_directory, create_private_directories, not_followed, private_file};
pub use proxy::{Proxy, ProxyError, UsedProxy, begins_twice};
pub use reachable::{NetworkError, NotReachable, PrivateDestination, PrivateDestinations, Reach};
pub use read_file::{not_a_regular_file, not_text, read_file, read_regular};
pub use renewable_client::{RenewableClient, is_html, wants_tls};
pub use request_error::{
    RequestProblem, describe_proxy_refusal, describe_request_error, is_closed_by_plan, is_lost_before_answer,
    is_tls_error,
};
pub use request_way::{Proxies, RequestWay};
pub use retry_after::retry_after;
pub use secret::{Credential, SECRET_REF, Secret, SecretError, check_token};
pub use secret_object::{SecretObject, SecretObjectError};
pub use secrets::Secrets;
pub use server_tls::{ClientCertificates, ServerTls, ServerTlsFiles, peer_client_builder};
pub use size::{ByteSize, ByteSizeError};
pub use tls::{Tls, TlsFile, tls_client_of};
