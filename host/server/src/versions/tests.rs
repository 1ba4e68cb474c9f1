use super::*;

const MANIFEST: &str = "name = \"count\"\nversion = \"0.1.0\"\ncomponent = \"count.wasm\"\n\
                        [subscribe]\ntopics = [\"public.orders.v1\"]\n";
const COMPONENT: &[u8] = b"code";

fn versions(scratch: &Path) -> Versions {
    let sandbox = Sandbox::new(weir_wasm::SandboxConfig {
        cache_dir: scratch.join("cache"),
        cache_key: [0; 32],
        compiler: PathBuf::from("nothing is compiled"),
        compiler_args: Vec::new(),
        component_bytes_max: weir_wasm::SandboxConfig::COMPONENT_BYTES_MAX,
        memory_bytes_ceiling: weir_wasm::SandboxConfig::MEMORY_BYTES_CEILING,
        threads: 1,
    });
    let (sandbox, config) = (Arc::new(sandbox.unwrap()), Arc::new(Config::default()));
    Versions::new(scratch.join("versions"), config, sandbox)
}

/// Deploys the component with this manifest.
fn deploy(versions: &Versions, scratch: &Path, manifest: &str) -> Deployment {
    let folder = scratch.join("count");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(manifest::FILE), manifest).unwrap();
    fs::write(folder.join("count.wasm"), COMPONENT).unwrap();
    let manifest = Manifest::load(&folder, &versions.config).unwrap();
    let deployment = Deployment::new(manifest, &versions.config);
    let digest = blake3::hash(COMPONENT).to_hex();
    versions.try_keep(&deployment, &digest).unwrap();
    deployment
}

#[test]
fn one_component_with_two_manifests_is_two_versions() {
    let scratch = tempfile::tempdir().unwrap();
    let scratch = scratch.path();
    let versions = versions(scratch);
    let newer = MANIFEST.replace("0.1.0", "0.2.0");
    for manifest in [MANIFEST, &newer, MANIFEST] {
        deploy(&versions, scratch, manifest);
    }
    let deployment = deploy(&versions, scratch, &newer);
    for version in ["0.1.0", "0.2.0"] {
        let kept = versions.find(&deployment, version).unwrap();
        let manifest = fs::read_to_string(kept.folder.join(manifest::FILE)).unwrap();
        assert_eq!(manifest, MANIFEST.replace("0.1.0", version));
        let component = fs::read(kept.folder.join("count.wasm")).unwrap();
        assert_eq!(component, COMPONENT);
    }
    match versions.find(&deployment, "0.3.0") {
        Err(VersionError::Unknown { known, .. }) => assert_eq!(known.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_version_whose_files_have_changed_is_not_run_and_is_kept_anew_by_the_next_deployment() {
    let scratch = tempfile::tempdir().unwrap();
    let scratch = scratch.path();
    let versions = versions(scratch);
    let deployment = deploy(&versions, scratch, MANIFEST);
    let kept = versions.find(&deployment, "0.1.0").unwrap();
    for file in ["count.wasm", manifest::FILE] {
        let path = kept.folder.join(file);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(&path, flipped).unwrap();
        let refused = versions.load(&kept).await.err().unwrap().to_string();
        assert!(refused.contains("damaged"), "{file}: {refused}");
        deploy(&versions, scratch, MANIFEST);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn a_version_whose_removal_was_cut_short_hides_no_other() {
    let scratch = tempfile::tempdir().unwrap();
    let scratch = scratch.path();
    let versions = versions(scratch);
    let newer = MANIFEST.replace("0.1.0", "0.2.0");
    let deployment = deploy(&versions, scratch, &newer);
    let half = versions.find(&deployment, "0.2.0").unwrap().folder;
    deploy(&versions, scratch, MANIFEST);
    fs::remove_file(half.join(manifest::FILE)).unwrap();
    assert!(versions.find(&deployment, "0.1.0").is_ok());
    assert!(!half.exists());
}
