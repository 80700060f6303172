//! Builds the BPF objects, which are committed so that nobody else needs clang.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

const SOURCES: &str = "crates/procession-sensor/bpf";
const SOURCE_SUFFIX: &str = ".bpf.c";

/// Compilers of different versions make different objects; this one made the committed ones.
const DEFAULT_CLANG: &str = "clang-14";
const DEFAULT_STRIP: &str = "llvm-strip-14";

/// `-mcpu=v3` for the atomic compare-and-swap. Every path is relative to the source folder, where
/// the compiler runs; the folder's own name, which goes into the debug information, is mapped away.
const CLANG_FLAGS: [&str; 9] =
    ["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fail if a committed object is not what its source makes, and write nothing.
    #[arg(long)]
    check: bool,
}

/// Builds every `*.bpf.c`, next to its source or, with `--check`, to compare.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let folder = root.join(SOURCES);
    let tools = Tools::from_env();
    let scratch = tempfile::tempdir().context("create a temporary folder")?;
    for source in sources(&folder)? {
        let object = source.replace(SOURCE_SUFFIX, ".bpf.o");
        let built = scratch.path().join(&object);
        tools.build(&folder, &source, &built)?;
        let committed = folder.join(&object);
        if options.check {
            compare(&built, &committed)?;
        } else {
            fs::copy(&built, &committed).with_context(|| format!("write {}", committed.display()))?;
        }
    }
    Ok(())
}

/// Names of the sources in `folder`, in alphabetical order.
fn sources(folder: &Path) -> Result<Vec<String>> {
    let list = || format!("list {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(list)? {
        let name = entry.with_context(list)?.file_name();
        names.extend(name.into_string().ok());
    }
    names.retain(|name| name.ends_with(SOURCE_SUFFIX));
    names.sort();
    ensure!(!names.is_empty(), "no {SOURCE_SUFFIX} file in {}", folder.display());
    Ok(names)
}

fn compare(built: &Path, committed: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    ensure!(
        read(built)? == read(committed)?,
        "{} is not what its source makes: run `cargo xtask bpf` and commit the result",
        committed.display()
    );
    Ok(())
}

/// The two programs that turn a source into an object.
struct Tools {
    clang: OsString,
    strip: OsString,
}

impl Tools {
    fn from_env() -> Self {
        Self {
            clang: env::var_os("CLANG").unwrap_or_else(|| DEFAULT_CLANG.into()),
            strip: env::var_os("LLVM_STRIP").unwrap_or_else(|| DEFAULT_STRIP.into()),
        }
    }

    fn build(&self, folder: &Path, source: &str, object: &Path) -> Result<()> {
        let mut folder_is_here = OsString::from("-ffile-prefix-map=");
        folder_is_here.push(folder);
        folder_is_here.push("=.");
        let mut clang = Command::new(&self.clang);
        clang
            .current_dir(folder)
            .args(CLANG_FLAGS)
            .arg("-fdebug-compilation-dir=.")
            .arg(folder_is_here)
            .args(["-c", source, "-o"])
            .arg(object);
        finish(&mut clang)?;
        // DWARF goes; BTF, which the kernel wants, stays.
        finish(Command::new(&self.strip).arg("-g").arg(object))
    }
}

fn finish(command: &mut Command) -> Result<()> {
    let name = PathBuf::from(command.get_program());
    let name = name.display();
    let status = match command.status() {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "{name} is not installed: apt-get install clang-14 llvm-14 libbpf-dev \
             (or set CLANG and LLVM_STRIP)"
        ),
        Err(error) => return Err(error).with_context(|| format!("run {name}")),
    };
    ensure!(status.success(), "{name} failed: {status}");
    Ok(())
}
