//! Generates Rust from the `.proto` files, and the JSON schema of events; the result is committed, so
//! that a build generates nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use prost_types::FileDescriptorSet;

use crate::schema;

/// A folder of `.proto` files and the folder that holds what is made of them, and nothing else.
struct Set {
    /// What imports are relative to. Files may lie in folders below.
    sources: &'static str,
    output: &'static str,
    /// Whether servers are made too, not only clients.
    server: bool,
    /// Whether bytes are parts of the buffer that they are read from.
    zero_copy: bool,
    /// The name of a file for the descriptors, which a server needs to answer reflection.
    descriptors: Option<&'static str>,
    /// Servers that are made by themselves, over messages that stand elsewhere.
    servers: Option<Servers>,
}

/// What is made of the services alone, into files of their own.
struct Servers {
    /// Packages, and the modules that have their messages.
    packages: &'static [(&'static str, &'static str)],
    /// Messages that come to the server encoded already.
    encoded: &'static [&'static str],
    /// The type of these.
    encoded_type: &'static str,
}

const SETS: [Set; 4] = [
    Set {
        sources: "crates/procession-api/proto",
        output: "crates/procession-api/src/proto",
        server: false,
        zero_copy: false,
        descriptors: Some("descriptors.binpb"),
        servers: Some(Servers {
            packages: &[
                (".tetragon", "crate::proto::tetragon"),
                (".procession.v1", "crate::proto::procession::v1"),
            ],
            encoded: &[".tetragon.GetEventsResponse", ".procession.v1.FollowResponse"],
            encoded_type: "crate::Encoded",
        }),
    },
    Set {
        sources: "crates/procession-journal/proto",
        output: "crates/procession-journal/src/proto",
        server: false,
        zero_copy: true,
        descriptors: Some("descriptors.binpb"),
        servers: None,
    },
    Set {
        sources: "crates/procession-kube/proto",
        output: "crates/procession-kube/src/runtime/proto",
        server: false,
        zero_copy: false,
        descriptors: None,
        servers: None,
    },
    Set {
        sources: "crates/procession-kube/tests/proto",
        output: "crates/procession-kube/tests/proto/generated",
        server: true,
        zero_copy: false,
        descriptors: None,
        servers: None,
    },
];

/// The message that is one line of JSON, the `.proto` files that have it, and the schema of the lines.
const LINES: (&str, &str, &str) =
    ("GetEventsResponse", "crates/procession-api/proto", "docs/events.schema.json");

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fail if a committed file is not what its source makes, and write nothing.
    #[arg(long)]
    check: bool,
}

/// Generates every set, into its place or, with `--check`, to compare.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    for set in &SETS {
        let generated = set.generate(root)?;
        let output = root.join(set.output);
        if options.check {
            ensure!(
                read_folder(&output)? == generated,
                "{} is not what {} makes: run `cargo xtask proto` and commit the result",
                set.output,
                set.sources
            );
        } else {
            replace_folder(&output, &generated)?;
        }
    }
    run_schema(root, options)
}

fn run_schema(root: &Path, options: &Options) -> Result<()> {
    let (message, sources, output) = LINES;
    let path = root.join(output);
    let generated = schema::of_lines(&compile(&root.join(sources))?.file_descriptor_set(), message);
    if options.check {
        ensure!(
            fs::read_to_string(&path).with_context(|| format!("read {output}"))? == generated,
            "{output} is not what {sources} makes: run `cargo xtask proto` and commit the result"
        );
        return Ok(());
    }
    fs::write(&path, generated).with_context(|| format!("write {output}"))
}

/// File name to content.
type Files = BTreeMap<PathBuf, Vec<u8>>;

impl Set {
    fn generate(&self, root: &Path) -> Result<Files> {
        let sources = root.join(self.sources);
        let scratch = tempfile::tempdir().context("create a temporary folder")?;
        let mut compiler = compile(&sources).with_context(|| format!("compile {}", self.sources))?;
        tonic_prost_build::configure()
            .build_server(self.server)
            .build_transport(false)
            .btree_map(".")
            .bytes(if self.zero_copy { "." } else { ".nothing" })
            .out_dir(scratch.path())
            .compile_fds(compiler.file_descriptor_set())
            .with_context(|| format!("generate from {}", self.sources))?;
        let mut files = read_folder(scratch.path())?;
        if let Some(servers) = &self.servers {
            files.extend(servers.generate(compiler.file_descriptor_set())?);
        }
        let head = format!("//! Made by `cargo xtask proto` from {}.\n\n", self.sources);
        for text in files.values_mut() {
            *text = [head.as_bytes(), text].concat();
        }
        if let Some(name) = self.descriptors {
            // Comments are of no use to a program.
            compiler.include_source_info(false);
            files.insert(name.into(), compiler.encode_file_descriptor_set());
        }
        Ok(files)
    }
}

impl Servers {
    /// `name.server.rs` for every package `name` that has a service.
    fn generate(&self, descriptors: FileDescriptorSet) -> Result<Files> {
        let scratch = tempfile::tempdir().context("create a temporary folder")?;
        let mut builder =
            tonic_prost_build::configure().build_client(false).build_transport(false).out_dir(scratch.path());
        let encoded = self.encoded.iter().map(|message| (*message, self.encoded_type));
        for (path, rust) in self.packages.iter().copied().chain(encoded) {
            builder = builder.extern_path(path, rust);
        }
        builder.compile_fds(descriptors).context("generate servers")?;
        let files = read_folder(scratch.path())?.into_iter();
        Ok(files.map(|(name, text)| (name.with_extension("server.rs"), text)).collect())
    }
}

/// Every file below `sources`, and what they import.
fn compile(sources: &Path) -> Result<protox::Compiler> {
    let mut compiler = protox::Compiler::new([sources])?;
    compiler.include_imports(true).include_source_info(true).open_files(proto_files(sources)?)?;
    Ok(compiler)
}

/// The sources in `root` and the folders below, in alphabetical order.
fn proto_files(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut unlisted) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = unlisted.pop() {
        let (folders, mut others): (Vec<_>, Vec<_>) =
            list(&folder)?.into_iter().partition(|path| path.is_dir());
        unlisted.extend(folders);
        others.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
        files.append(&mut others);
    }
    ensure!(!files.is_empty(), "no .proto file in {}", root.display());
    files.sort();
    Ok(files)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || format!("list {}", folder.display());
    let entries = fs::read_dir(folder).with_context(list)?;
    let paths: io::Result<Vec<_>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.with_context(list)?;
    paths.sort();
    Ok(paths)
}

fn read_folder(folder: &Path) -> Result<Files> {
    let read = |path: PathBuf| {
        let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        Ok((PathBuf::from(path.file_name().context("a listed file has a name")?), content))
    };
    list(folder)?.into_iter().map(read).collect()
}

fn replace_folder(folder: &Path, files: &Files) -> Result<()> {
    let write = || format!("write {}", folder.display());
    fs::create_dir_all(folder).with_context(write)?;
    for old in list(folder)? {
        fs::remove_file(old).with_context(write)?;
    }
    for (name, content) in files {
        fs::write(folder.join(name), content).with_context(write)?;
    }
    Ok(())
}
