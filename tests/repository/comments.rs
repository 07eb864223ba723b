//! The comment of a function that only answers yes or no begins with "Returns whether", or with a verb of what it does.

use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Meta, Signature};

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
        let comment = attributes.iter().find_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => Some(&pair.value),
            _ => None,
        });
        let Some(Expr::Lit(literal)) = comment else { return };
        let comment = literal.lit.to_token_stream().to_string();
        let text = comment.trim_start_matches(['"', ' ']);
        if OTHERS.iter().any(|other| text.starts_with(other)) {
            self.0.push(format!("{}: {text}", signature.ident));
        }
    }
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

#[test]
fn the_comment_of_a_function_that_returns_a_boolean_says_so() {
    for (name, file) in files() {
        let mut functions = Functions::default();
        functions.visit_file(&file);
        assert_eq!(functions.0, [""; 0], "{name}");
    }
}
