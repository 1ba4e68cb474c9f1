//! A broker that strangers reach over TLS alone, and with a password.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::Cluster;
use crate::ports;

/// Of the key store, which holds nothing but a key for a test.
const STORE_PASSWORD: &str = "weir-tests";

/// What a user may do with what is called this, or begins with it: an ACL of the cluster.
#[derive(Debug)]
pub struct Right<'a> {
    /// Of the resource, as Kafka's tool has it: `topic`, `group`, `transactional-id` or `cluster`.
    pub kind: &'a str,
    /// Its name, or how it begins.
    pub name: &'a str,
    /// `literal` or `prefixed`.
    pub pattern: &'a str,
    /// Such as `Read`.
    pub operations: &'a [&'a str],
}

/// How to reach such a broker.
#[derive(Debug)]
pub struct Secured {
    /// For clients with TLS and SCRAM-SHA-512 or PLAIN.
    pub bootstrap: String,
    /// The certificate that they trust.
    pub ca: PathBuf,
}

impl Cluster {
    /// One broker in `folder`, ready, that asks `user` for `password` over TLS, and lets him do what [`Self::allow`] says; its
    /// other listener is for tools, which may do everything.
    ///
    /// # Errors
    /// A key could not be made, or the broker did not start.
    pub fn start_secured(
        libraries: &Path,
        folder: &Path,
        user: &str,
        password: &str,
    ) -> anyhow::Result<(Self, Secured)> {
        let [plain, port] = ports::free()?;
        let mut cluster = Self::new(libraries, folder, &[plain])?;
        cluster.short = true;
        let (store, ca) = (folder.join("broker.p12"), folder.join("ca.pem"));
        keytool(
            &store,
            &[
                "-genkeypair",
                "-keyalg",
                "EC",
                "-dname",
                "CN=localhost",
                "-ext",
                "san=dns:localhost",
                "-validity",
                "30",
                "-storetype",
                "PKCS12",
            ],
        )?;
        keytool(
            &store,
            &["-exportcert", "-rfc", "-file", &ca.display().to_string()],
        )?;
        let bootstrap = format!("localhost:{port}");
        cluster.listen(("SECURE", "SASL_SSL"), port, &bootstrap, "PLAINTEXT")?;
        let properties = cluster.home(1).join("server.properties");
        let text = fs::read_to_string(&properties)?;
        let secure = format!(
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:ANONYMOUS\n\
             sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN\n\
             listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
             user_{user}=\"{password}\";\n\
             listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             listener.name.secure.ssl.keystore.type=PKCS12\n\
             listener.name.secure.ssl.keystore.location={}\n\
             listener.name.secure.ssl.keystore.password={STORE_PASSWORD}\n",
            store.display()
        );
        fs::write(&properties, text + &secure)?;
        cluster.start(1)?;
        let credential = format!("SCRAM-SHA-512=[password={password}]");
        let entity = ["--entity-type", "users", "--entity-name", user];
        let change = ["--alter", "--add-config", &credential];
        cluster.administer(
            "kafka.admin.ConfigCommand",
            &[entity.as_slice(), &change].concat(),
        )?;
        Ok((cluster, Secured { bootstrap, ca }))
    }

    /// Lets `user` do this.
    ///
    /// # Errors
    /// The tool for ACLs failed.
    pub fn allow(&self, user: &str, rights: &[Right<'_>]) -> anyhow::Result<()> {
        let principal = format!("User:{user}");
        for right in rights {
            let mut arguments = vec!["--add", "--allow-principal", &principal];
            for operation in right.operations {
                arguments.extend(["--operation", operation]);
            }
            let kind = format!("--{}", right.kind);
            arguments.push(&kind);
            if right.kind != "cluster" {
                arguments.extend([right.name, "--resource-pattern-type", right.pattern]);
            }
            self.administer("org.apache.kafka.tools.AclCommand", &arguments)?;
        }
        Ok(())
    }

    /// Runs one of Kafka's tools, as one who may do everything.
    fn administer(&self, class: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let output = self
            .tool(class)
            .args(["--bootstrap-server", &self.bootstrap()])
            .args(arguments)
            .output()
            .context("start java")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(())
    }

    /// How the batches of a topic's partition are compressed, as the broker's own tool reads its log.
    ///
    /// # Errors
    /// There is no such partition here.
    pub fn codecs(&self, topic: &str, partition: u32) -> anyhow::Result<Vec<String>> {
        let log = self
            .home(1)
            .join("data")
            .join(format!("{topic}-{partition}"));
        let log = log.join("00000000000000000000.log");
        anyhow::ensure!(log.is_file(), "there is no {}", log.display());
        let output = self
            .tool("org.apache.kafka.tools.DumpLogSegments")
            .arg("--files")
            .arg(&log)
            .output()
            .context("start java")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let codecs = text.lines().filter_map(|line| {
            let (_, codec) = line.split_once("compresscodec: ")?;
            codec.split_whitespace().next().map(str::to_owned)
        });
        Ok(codecs.collect())
    }
}

/// Java's own tool for keys, on the entry of the broker.
fn keytool(store: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("keytool")
        .args(arguments)
        .args([
            "-alias",
            "broker",
            "-storepass",
            STORE_PASSWORD,
            "-keystore",
        ])
        .arg(store)
        .stdin(Stdio::null())
        .output()
        .context("start keytool")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    anyhow::ensure!(output.status.success(), "keytool: {said}");
    Ok(())
}
