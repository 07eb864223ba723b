//! A file system and a name server that stop to answer: a library that the program loads around the system's calls.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::process::{Process, program};

pub struct Silent {
    library: PathBuf,
    /// Calls wait while this file exists.
    marker: PathBuf,
    /// Directory of the file system that stops answering.
    directory: PathBuf,
}

impl Silent {
    /// Creates the library and the directory below `root`. Names below `.silent.test` are those of the name server.
    pub fn new(root: &Path) -> Self {
        let library = root.join("silent.so");
        let marker = root.join("silent");
        let directory = root.join("mount");
        std::fs::create_dir(&directory).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/silent.c");
        let compiled = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .status();
        assert!(compiled.unwrap().success());
        Self { library, marker, directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn begin(&self) {
        std::fs::write(&self.marker, "").unwrap();
    }

    pub fn end(&self) {
        std::fs::remove_file(&self.marker).unwrap();
    }

    /// The program in `root`, with these arguments.
    pub fn process(&self, root: &Path, arguments: &[&str]) -> Process {
        Process::spawn(self.command(root, arguments))
    }

    /// The program on a system that also starts no threads.
    pub fn process_without_threads(&self, root: &Path, arguments: &[&str]) -> Process {
        let mut command = self.command(root, arguments);
        command.env("SILENT_THREADS", "1");
        Process::spawn(command)
    }

    fn command(&self, root: &Path, arguments: &[&str]) -> Command {
        let mut command = program(root, arguments);
        // So that the number of its threads does not depend on the machine.
        command.env("LD_PRELOAD", &self.library).env("TOKIO_WORKER_THREADS", "2");
        command.env("SILENT_WHILE", &self.marker).env("SILENT_DIRECTORY", &self.directory);
        command
    }
}
