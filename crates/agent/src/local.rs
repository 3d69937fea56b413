//! Questions to the host itself, over `state_path/agent.sock` (0600): a line of JSON each way,
//! [`Question`] in, [`Answer`] out, as many as the asker likes. Works while the server is down.

use crate::runtime::error::AgentError;
use crate::runtime::questions::Answers;
use novanet_model::wire::{Answer, Question};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// A longer line is no question.
const MAX_QUESTION_BYTES: u64 = 64 * 1024;

/// The socket of the host with this state path.
pub fn socket_path(state_path: &Path) -> PathBuf {
    state_path.join("agent.sock")
}

/// The socket, open. Removes its file when dropped.
pub struct Local {
    path: PathBuf,
    listener: UnixListener,
}

impl Local {
    /// Opens the socket. Call it with the agent's lock held: what is left of an earlier agent's
    /// socket is replaced.
    pub fn open(state_path: &Path) -> Result<Self, AgentError> {
        let path = socket_path(state_path);
        let refused = |e| AgentError::file(&path, e);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(refused(e)),
            _ => {}
        }
        // Bound under another name first, so that no client connects before the mode is right.
        let unknown = path.with_extension("sock.new");
        let _ = fs::remove_file(&unknown);
        let listener = UnixListener::bind(&unknown).map_err(refused)?;
        fs::set_permissions(&unknown, Permissions::from_mode(0o600)).map_err(refused)?;
        fs::rename(&unknown, &path).map_err(refused)?;
        Ok(Self { path, listener })
    }

    /// Answers all clients until it is dropped.
    pub async fn serve(self, answers: Answers) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let answers = answers.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, &answers).await {
                            tracing::debug!(%error, "local asker is gone");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "local socket");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // the next agent replaces it anyway
    }
}

async fn converse(mut stream: UnixStream, answers: &Answers) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut read).take(MAX_QUESTION_BYTES);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_slice::<Question>(&line) {
            Ok(question) => answers.answer(&question).await,
            Err(error) => Answer::Failed {
                message: format!("not a question: {error}"),
            },
        };
        let mut answer = serde_json::to_vec(&answer)?;
        answer.push(b'\n');
        write.write_all(&answer).await?;
    }
}

/// Asks the agent on this host. The error is `NotFound` or `ConnectionRefused` if none runs.
pub async fn ask(state_path: &Path, question: &Question) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(socket_path(state_path)).await?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    BufReader::new(stream)
        .read_until(b'\n', &mut answer)
        .await?;
    Ok(serde_json::from_slice(&answer)?)
}
