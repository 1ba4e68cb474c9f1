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
