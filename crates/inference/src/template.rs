//! The chat template inside a GGUF file.

use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;

/// Why a conversation cannot be rendered.
#[derive(Debug, thiserror::Error)]
#[error("the chat template rejects this conversation: {0}")]
pub(crate) struct TemplateError(String);

/// One turn as the template sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    pub(crate) role: String,
    pub(crate) content: String,
}

/// A compiled-on-use Jinja template with the helpers that model authors rely on.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    source: String,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    pub(crate) fn new(source: &str, bos: &str, eos: &str) -> Self {
        Self { source: source.to_owned(), bos: bos.to_owned(), eos: eos.to_owned() }
    }

    /// The prompt for the assistant's next turn.
    pub(crate) fn render(&self, messages: &[Message]) -> Result<String, TemplateError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |text: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
        });
        let values = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => self.bos,
            eos_token => self.eos,
        };
        environment.render_str(&self.source, values).map_err(|error| TemplateError(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    #[test]
    fn offers_methods_loops_and_exceptions() {
        let source = "{% for m in messages %}\n{% if m.role == 'bad' %}\n{{ raise_exception('no bad') }}\n{% endif %}\n\
                      {{ m.role.upper() }}:{{ m['content'].strip() }};{% endfor %}{{ eos_token }}";
        let template = ChatTemplate::new(source, "<s>", "</s>");
        assert_eq!(template.render(&[message("user", " hi ")]).unwrap(), "USER:hi;</s>");
        let error = template.render(&[message("bad", "")]).unwrap_err().to_string();
        assert!(error.contains("no bad"), "{error}");
    }
}
