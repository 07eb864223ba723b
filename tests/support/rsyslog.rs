//! rsyslog over TLS, as its makers ship it, in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::process::until;
use super::tls::Issued;

pub struct Rsyslog {
    directory: PathBuf,
    program: PathBuf,
    port: u16,
    child: Child,
}

impl Rsyslog {
    /// Starts it in `directory` on `port`. `files` are those of [`test_servers::rsyslog`].
    pub async fn start(files: &Path, directory: &Path, issued: &Issued, authority: &str, port: u16) -> Self {
        let (certificate, key) = issued.write(directory, "server");
        let ca = directory.join("ca.pem");
        std::fs::write(&ca, authority).unwrap();
        let configuration = format!(
            r#"global(workDirectory="{directory}" maxMessageSize="64k" defaultNetstreamDriver="gtls"
       defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{certificate}"
       defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="raw" type="string" string="%rawmsg%\n")
ruleset(name="in") {{ action(type="omfile" file="{log}" template="raw") }}
input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="in")
"#,
            directory = directory.display(),
            ca = ca.display(),
            certificate = certificate.display(),
            key = key.display(),
            log = directory.join("out.log").display(),
        );
        Self::start_with(files, directory, &configuration, port).await
    }

    /// Starts it with this configuration, which writes to `out.log` in `directory`.
    pub async fn start_with(files: &Path, directory: &Path, configuration: &str, port: u16) -> Self {
        std::fs::write(directory.join("rsyslog.conf"), configuration).unwrap();
        let modules = files.join("usr/lib/x86_64-linux-gnu/rsyslog");
        let program = files.join("usr/sbin/rsyslogd");
        let child = spawn(&program, directory, &modules);
        let server = Self { directory: directory.to_owned(), program, port, child };
        server.answers().await;
        server
    }

    async fn answers(&self) {
        until("rsyslog listens", async || TcpStream::connect(("127.0.0.1", self.port)).await.ok().map(drop)).await;
    }

    /// The messages that it has written to its file.
    pub fn messages(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join("out.log")).unwrap_or_default();
        // rsyslog may be writing the last one.
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    /// Ends the process by a signal, and starts it again.
    pub async fn restart(&mut self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        self.child.wait().await.unwrap();
        let _ = std::fs::remove_file(self.directory.join("pid"));
        let modules = self.program.parent().unwrap().join("../lib/x86_64-linux-gnu/rsyslog");
        self.child = spawn(&self.program, &self.directory, &modules);
        self.answers().await;
    }
}

fn spawn(program: &Path, directory: &Path, modules: &Path) -> Child {
    let mut command = Command::new(program);
    command.args(["-n", "-f"]).arg(directory.join("rsyslog.conf")).arg("-i").arg(directory.join("pid"));
    command.arg("-M").arg(modules);
    command.env("LD_LIBRARY_PATH", modules.parent().unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    command.spawn().unwrap()
}
