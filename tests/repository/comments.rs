//! The comment of a function that only answers yes or no begins with "Returns whether", or with a verb of what it does.
//! The comment of a field of type `bool` begins with "Whether".

use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Field, ItemEnum, ItemStruct, Meta, Signature};

use super::layering::files;

/// Beginnings that other comments have: those of fields, and of conditions.
const OTHERS: [&str; 4] = ["Whether ", "True if ", "True when ", "Returns true if "];

/// The functions whose comments begin in another way, as far as they were visited.
#[derive(Default)]
struct Functions(Vec<String>);

impl Functions {
    fn look_at(&mut self, attributes: &[Attribute], signature: &Signature) {
        if signature.output.to_token_stream().to_string() != "-> bool" {
            return;
        }
        let Some(text) = first_line(attributes) else { return };
        if OTHERS.iter().any(|other| text.starts_with(other)) {
            self.0.push(format!("{}: {text}", signature.ident));
        }
    }
}

/// Returns the first line of a comment; `None` if there is no comment.
fn first_line(attributes: &[Attribute]) -> Option<String> {
    let comment = attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => Some(&pair.value),
        _ => None,
    });
    let Some(Expr::Lit(literal)) = comment else { return None };
    let comment = literal.lit.to_token_stream().to_string();
    Some(comment.trim_start_matches(['"', ' ']).to_owned())
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.look_at(&function.attrs, &function.sig);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.look_at(&function.attrs, &function.sig);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.look_at(&function.attrs, &function.sig);
        visit::visit_trait_item_fn(self, function);
    }
}

/// Traits of which the comments of fields are texts for users: keys of files, and flags of commands.
const TEXTS: [&str; 4] = ["JsonSchema", "Args", "Parser", "Subcommand"];

/// The fields of type `bool` whose comments begin in another way than with "Whether", as far as they were visited.
#[derive(Default)]
struct Fields(Vec<String>);

fn has_texts(attributes: &[Attribute]) -> bool {
    let texts = attributes.iter().map(|attribute| attribute.meta.to_token_stream().to_string());
    texts
        .filter(|text| text.contains("derive"))
        .any(|text| text.split(|c: char| !c.is_alphanumeric()).any(|word| TEXTS.contains(&word)))
}

impl<'ast> Visit<'ast> for Fields {
    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        if !has_texts(&item.attrs) {
            visit::visit_item_struct(self, item);
        }
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        if !has_texts(&item.attrs) {
            visit::visit_item_enum(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if !["bool", "Option < bool >", "AtomicBool"].contains(&field.ty.to_token_stream().to_string().as_str()) {
            return;
        }
        if let (Some(name), Some(text)) = (&field.ident, first_line(&field.attrs))
            && !text.starts_with("Whether ")
        {
            self.0.push(format!("{name}: {text}"));
        }
    }
}

#[test]
fn the_comment_of_a_boolean_field_says_whether() {
    for (name, file) in files() {
        let mut fields = Fields::default();
        fields.visit_file(&file);
        assert_eq!(fields.0, [""; 0], "{name}");
    }
}

#[test]
fn the_comment_of_a_function_that_returns_a_boolean_says_so() {
    for (name, file) in files() {
        let mut functions = Functions::default();
        functions.visit_file(&file);
        assert_eq!(functions.0, [""; 0], "{name}");
    }
}
