//! Security identifiers (SIDs): ids of the accounts of Windows.

use s1_forwarder_record::Escaped;

use super::account::Account;

/// Accounts that each machine or each domain has: the whole id or its end, and the names in the languages of Windows.
/// Accounts with only the end of an id may be renamed.
const ACCOUNTS: [(&str, &[&str]); 9] = [
    (
        "S-1-5-7",
        &["ANONYMOUS LOGON", "ANONYMOUS-ANMELDUNG", "ANONYMOUS", "INICIO DE SESIÓN ANÓNIMO", "ACCESSO ANONIMO"],
    ),
    ("S-1-5-18", &["SYSTEM", "LocalSystem", "Local System", "Système", "SISTEMA", "СИСТЕМА", "JÄRJESTELMÄ"]),
    (
        "S-1-5-19",
        &[
            "LOCAL SERVICE",
            "LocalService",
            "LOKALER DIENST",
            "SERVICE LOCAL",
            "SERVICIO LOCAL",
            "SERVIZIO LOCALE",
            "SERVIÇO LOCAL",
            "USŁUGA LOKALNA",
            "LOKAL TJÄNST",
            "LOKAL TJENESTE",
            "PAIKALLINEN PALVELU",
            "HELYI SZOLGÁLTATÁS",
        ],
    ),
    (
        "S-1-5-20",
        &[
            "NETWORK SERVICE",
            "NetworkService",
            "NETZWERKDIENST",
            "SERVICE RÉSEAU",
            "SERVICIO DE RED",
            "SERVIZIO DI RETE",
            "SERVIÇO DE REDE",
            "USŁUGA SIECIOWA",
            "NÄTVERKSTJÄNST",
            "NETTVERKSTJENESTE",
            "NETVÆRKSTJENESTE",
            "VERKKOPALVELU",
            "HÁLÓZATI SZOLGÁLTATÁS",
        ],
    ),
    (
        "-500",
        &[
            "Administrator",
            "Administrateur",
            "Administrador",
            "Administratör",
            "Järjestelmänvalvoja",
            "Rendszergazda",
            "Администратор",
        ],
    ),
    (
        "-501",
        &["Guest", "Gast", "Invité", "Invitado", "Convidado", "Gäst", "Gæst", "Gjest", "Vieras", "Vendég", "Гость"],
    ),
    ("-502", &["krbtgt"]),
    ("-503", &["DefaultAccount"]),
    ("-504", &["WDAGUtilityAccount"]),
];

/// Returns whether an account may have this id. The account of a machine (`WS-7$`) has the ids of the machine's
/// services.
pub fn may_be_of(sid: Escaped<'_>, account: Account<'_>) -> bool {
    let name = account.name.decode();
    let is_name = |known: &&str| lower_case(known).eq(lower_case(&name));
    match ACCOUNTS.iter().find(|(_, names)| names.iter().any(is_name)) {
        Some((end, _)) => sid.is(end) || end.starts_with('-') && sid.raw().ends_with(end),
        None => name.ends_with('$') || !ACCOUNTS.iter().any(|(whole, _)| sid.is(whole)),
    }
}

/// Returns whether this is `SYSTEM`, by its names in the languages of Windows.
pub fn is_system(account: Account<'_>) -> bool {
    is_one_of(account, &["S-1-5-18"])
}

/// Returns whether this is `LOCAL SERVICE` or `NETWORK SERVICE`, by their names in the languages of Windows.
pub fn is_service(account: Account<'_>) -> bool {
    is_one_of(account, &["S-1-5-19", "S-1-5-20"])
}

fn is_one_of(account: Account<'_>, ids: &[&str]) -> bool {
    let name = account.name.decode();
    // A name in capitals has the same number of bytes.
    let is_name = |known: &&str| known.len() == name.len() && lower_case(known).eq(lower_case(&name));
    ACCOUNTS.iter().filter(|(id, _)| ids.contains(id)).any(|(_, names)| names.iter().any(is_name))
}

fn lower_case(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}
