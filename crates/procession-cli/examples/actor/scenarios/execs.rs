//! What is exec'd, and where.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, iter};

use anyhow::{Result, ensure};

use crate::helper::chain_arguments;
use crate::program::{Program, text, words};
use crate::scene::Scene;
use crate::sys;

pub(super) fn chain(scene: &mut Scene) -> Result<()> {
    let links = (0..10).rev().map(|links| Program::new(&scene.exe, chain_arguments(links)?));
    let links = links.collect::<Result<Vec<Program>>>()?;
    let pid = scene.fork(|| links[0].run())?;
    for link in &links {
        scene.executed(pid, link);
    }
    scene.reap(pid).map(drop)
}

pub(super) fn deleted_binary(scene: &mut Scene) -> Result<()> {
    let copy = scene.copy("deleted")?;
    let file = File::open(&copy)?;
    fs::remove_file(&copy)?;
    let arguments = words(["ghost", "helper:exit:3"])?;
    let program = Program::new(&copy, arguments)?.without_name(file.into());
    scene.perform(&program, || Ok(())).map(drop)
}

pub(super) fn memfd(scene: &mut Scene) -> Result<()> {
    let mut file = sys::memory_file(c"actor")?;
    io::copy(&mut File::open(&scene.exe)?, &mut file)?;
    // What the kernel shows as a memory file's path.
    let arguments = words(["ghost", "helper:exit:4"])?;
    let program = Program::new(Path::new("/memfd:actor"), arguments)?.without_name(file.into());
    scene.perform(&program, || Ok(())).map(drop)
}

/// What a script's first line has after the interpreter. The kernel makes one argument of it.
const SCRIPT_ARGUMENT: &str = "helper:exit:5 one argument";

/// Writes a script that a copy of the actor interprets: a first line holds 255 bytes, and the
/// actor's own path may be longer.
fn write_script(scene: &Scene) -> Result<(PathBuf, PathBuf)> {
    let interpreter = scene.copy("interpreter")?;
    let script = scene.directory.join("script");
    let line = format!("#!{} {SCRIPT_ARGUMENT}\n", interpreter.display());
    ensure!(line.len() < 256, "the temporary directory's path is too long for a script");
    fs::write(&script, line)?;
    fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    Ok((script, interpreter))
}

pub(super) fn script(scene: &mut Scene) -> Result<()> {
    let (script, interpreter) = write_script(scene)?;
    let arguments = words(["replaced", "first", "second"])?;
    let program = Program::new(&script, arguments)?.interpreted_by(&interpreter, SCRIPT_ARGUMENT)?;
    scene.perform(&program, || Ok(())).map(drop)
}

pub(super) fn script_relative(scene: &mut Scene) -> Result<()> {
    let (script, interpreter) = write_script(scene)?;
    let arguments = words(["replaced", "first"])?;
    let program = Program::new(&script, arguments)?
        .named_from(&scene.directory, "./script")?
        .interpreted_by(&interpreter, SCRIPT_ARGUMENT)?;
    let directory = scene.directory.clone();
    scene.perform(&program, || env::set_current_dir(directory)).map(drop)
}

pub(super) fn relative(scene: &mut Scene) -> Result<()> {
    let copy = scene.copy("prog")?;
    let arguments = words(["prog", "helper:exit:6"])?;
    let program = Program::new(&copy, arguments)?.named_from(&scene.directory, "./prog")?;
    let directory = scene.directory.clone();
    scene.perform(&program, || env::set_current_dir(directory)).map(drop)
}

pub(super) fn fails(scene: &mut Scene) -> Result<()> {
    let missing = scene.directory.join("missing");
    let program = Program::new(&missing, words(["missing"])?)?;
    let pid = scene.fork(|| match program.exec().kind() {
        io::ErrorKind::NotFound => 127,
        _ => sys::FAILED,
    })?;
    scene.reap(pid).map(drop)
}

pub(super) fn deep_cwd(scene: &mut Scene) -> Result<()> {
    let mut cwd = scene.directory.clone();
    cwd.extend((0..130).map(|depth| format!("depth-{depth:03}")));
    fs::create_dir_all(&cwd)?;
    let mut program = scene.helper(["deep", "helper:exit:3"])?;
    program.truth.cwd = Some(text(&cwd)?);
    scene.perform(&program, || env::set_current_dir(&cwd)).map(drop)
}

pub(super) fn long_cwd(scene: &mut Scene) -> Result<()> {
    // 25 components of 200 bytes.
    let component = "long".repeat(50);
    let mut program = scene.helper(["long", "helper:exit:4"])?;
    program.truth.cwd = None;
    program.truth.cwd_end = Some(component.clone());
    let directory = scene.directory.clone();
    let descend = || {
        env::set_current_dir(directory)?;
        iter::repeat_n(&component, 25).try_for_each(|component| {
            fs::create_dir(component)?;
            env::set_current_dir(component)
        })
    };
    scene.perform(&program, descend).map(drop)
}
