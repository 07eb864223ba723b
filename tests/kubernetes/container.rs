//! The container of a Deployment, whose program is started as a process.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use crate::support::process::program;

pub struct Container {
    pub arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Container {
    /// The listeners are at free ports of this machine.
    pub fn of(deployment: &Value) -> Self {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let here =
            |argument: &str| argument.replace("0.0.0.0:9598", "127.0.0.1:0").replace("0.0.0.0:9599", "127.0.0.1:0");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        // The address of the pod comes from Kubernetes.
        let fixed = container["env"].as_array().unwrap().iter().filter(|variable| variable["valueFrom"].is_null());
        Self {
            arguments: texts(&container["args"]).iter().map(|argument| here(argument)).collect(),
            variables: fixed.map(|variable| (text(&variable["name"]), text(&variable["value"]))).collect(),
        }
    }

    /// The program with other arguments, as `kubectl exec` starts it.
    pub fn program(&self, directory: &Path, kubeconfig: &Path, arguments: &[&str]) -> Command {
        let mut command = program(directory, arguments);
        command.env("KUBECONFIG", kubeconfig).envs(self.variables.clone());
        command
    }
}

pub fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}
