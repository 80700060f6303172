//! The programs that a soak runs: those beside this one, built by cargo if they are not there.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::args::Args;

/// The agent under test, and who performs acts.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) agent: PathBuf,
    pub(crate) actor: PathBuf,
}

impl Programs {
    pub(crate) fn find(args: &Args) -> Result<Self> {
        let here = env::current_exe()?;
        let folder = here.parent().context("this program is in no folder")?;
        let agent = args.agent.clone().unwrap_or_else(|| folder.join("procession"));
        let actor = args.actor.clone().unwrap_or_else(|| folder.join("examples/actor"));
        // What cargo made of older sources is made again; what somebody names is taken as it is.
        let profile = folder.file_name().and_then(|name| name.to_str());
        if let Some(profile @ ("debug" | "release")) = profile
            && let Ok(cargo) = env::var("CARGO")
        {
            if args.agent.is_none() {
                build(&cargo, profile, &["--bin", "procession"])?;
            }
            if args.actor.is_none() {
                build(&cargo, profile, &["--example", "actor"])?;
            }
        }
        for (program, option) in [(&agent, "--agent"), (&actor, "--actor")] {
            ensure!(
                program.is_file(),
                "there is no {}: run this through cargo, which builds it, or name one with {option}",
                program.display()
            );
        }
        Ok(Self { agent: absolute(&agent)?, actor: absolute(&actor)? })
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("cannot use {}", path.display()))
}

fn build(cargo: &str, profile: &str, what: &[&str]) -> Result<()> {
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "procession-cli"]).args(what);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile == "release" {
        command.arg("--release");
    }
    let status = command.status().with_context(|| format!("cannot run {cargo}"))?;
    if !status.success() {
        bail!("cannot build {}", what.join(" "));
    }
    Ok(())
}
