//! A disk that fails: a library that this file builds and preloads into a program, and the plan
//! that says which of its calls fail. Depends on gcc.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const SOURCE: &str = include_str!("faulty.c");

/// The library, and the plan of one program.
#[derive(Debug)]
pub struct FaultyDisk {
    folder: TempDir,
    plan: File,
}

impl FaultyDisk {
    /// Builds it. At first every call works.
    pub fn build() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("faulty.c");
        std::fs::write(&source, SOURCE)?;
        let mut gcc = Command::new("gcc");
        gcc.args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("faulty.so"))
            .arg(&source)
            .arg("-ldl");
        let done = gcc.output().context("gcc (package gcc)")?;
        ensure!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let plan = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(folder.path().join("plan"))?;
        let disk = Self { folder, plan };
        disk.set(-1)?;
        Ok(disk)
    }

    /// Lets `command` run with it; calls on files with `part` in their paths may fail.
    pub fn preload(&self, command: &mut Command, part: &str) {
        command
            .env("LD_PRELOAD", self.folder.path().join("faulty.so"))
            .env("LAB_DISK_PLAN", self.plan_path())
            .env("LAB_DISK_FILES", part);
    }

    /// Where its plan is: the program itself may change it.
    pub fn plan_path(&self) -> PathBuf {
        self.folder.path().join("plan")
    }

    fn set(&self, working: i64) -> Result<()> {
        write_plan(&self.plan, working)
    }
}

/// The plan of a disk, in the program that it is preloaded into.
#[derive(Debug)]
pub struct DiskPlan(File);

impl DiskPlan {
    /// That of this process; `None`: nothing is preloaded.
    pub fn of_this_process() -> Result<Option<Self>> {
        let Some(path) = std::env::var_os("LAB_DISK_PLAN") else {
            return Ok(None);
        };
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Some(Self(file)))
    }

    /// From now on so many calls work, and all after them fail.
    pub fn fail_after(&self, working: i64) -> Result<()> {
        write_plan(&self.0, working)
    }

    /// All calls work again; how many have failed.
    pub fn repair(&self) -> Result<i64> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, 8)?;
        write_plan(&self.0, -1)?;
        Ok(i64::from_ne_bytes(bytes))
    }
}

fn write_plan(plan: &File, working: i64) -> Result<()> {
    plan.write_all_at(&0_i64.to_ne_bytes(), 8)?;
    plan.write_all_at(&working.to_ne_bytes(), 0)?;
    Ok(())
}
