//! Values of settings, and the network and system code that they configure. Other crates compose their settings from
//! these values.
//!
//! - Values: secrets, sizes, periods, ids, names, and the kind of each key for the rules of tenants.
//! - Network: HTTP clients with TLS, proxies, pins and a resolver; the text of a failed request; calls to Kubernetes.
//! - System: files that are read with limits, and written for the owner alone.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod files;
mod network;
mod values;

pub use files::file_path::{FilePath, SHELL_PATH_ADVICE, is_shell_path, quoted};
pub use files::file_system::{FileAnswers, ask_file_system};
pub use files::private::{
    PRIVATE_FILE_MODE, check_private_directory, create_private_directories, explain_symbolic_link, private_file,
};
pub use files::read_file::{not_a_regular_file, not_text, read_file, read_regular};
pub use network::address_policy::{AddressPolicy, NetworkError, NotReachable, PrivateDestination, PrivateDestinations};
pub use network::backoff::{FullJitter, RetrySettings};
pub use network::client_error::{ClientError, Role};
pub use network::dial::{DialError, Dialer, Dialled};
pub use network::http::{HttpSettings, LOCAL_REQUEST_WAY, install_crypto_provider, local_client};
#[cfg(feature = "kubernetes")]
pub use network::kubernetes;
pub use network::pin::{Fingerprint, FingerprintError};
pub use network::proxy::{Proxy, ProxyError, UsedProxy, has_two_schemes};
pub use network::renewable_client::{RenewableClient, is_html, wants_tls};
pub use network::request_error::{
    RequestProblem, describe_proxy_refusal, describe_request_error, is_closed_by_plan, is_lost_before_answer,
    is_tls_error,
};
pub use network::request_way::{Proxies, RequestWay};
pub use network::retry_after::retry_after;
pub use network::server_tls::{ClientCertificates, ServerTls, ServerTlsFiles, peer_client_builder};
pub use network::tls::{Tls, TlsFile, tls_client_of};
pub use values::id::{Id, IdError};
pub use values::identity_tokens::is_identity_token_path;
pub use values::kind::SettingKind;
pub use values::known_secrets::KnownSecrets;
pub use values::name::is_namespace;
pub use values::own_variables::is_own_variable;
pub use values::period::{Period, PeriodError};
pub use values::secret::{Credential, SECRET_REF, Secret, SecretError, check_token};
pub use values::secret_object::{SecretObject, SecretObjectError};
pub use values::secrets::Secrets;
pub use values::size::{ByteSize, ByteSizeError};
