use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::catalog::attachments::{Attachments, Grant};
use crate::catalog::desc::{ForeignKey, KeyActions};
use crate::config::spec::Mode;
use crate::error::ErrorKind;
use crate::plan::copy::JobPlan;
use crate::plan::fixtures::{self, column, inspected, table};

/// `public.t` with two columns, and these fields besides.
fn attached(name: &str, more: &Value) -> Attachments {
    let column = |name: &str, ty: &str| {
        json!({
            "name": name, "type": ty, "collation": null, "not_null": false, "expression": null, "generated": "",
            "identity": "", "storage": null, "compression": null, "statistics": null, "options": [],
            "comment": null, "identity_sequence": null, "sequences": [], "may_use_type": true,
        })
    };
    let mut all = json!({
        "schema": "public", "name": name, "sql_name": format!("public.{name}"), "owner": "o", "unlogged": false,
        "temporary": false, "access_method": "heap", "tablespace": null, "options": [], "toast_options": [],
        "row_security": false, "force_row_security": false, "replica_identity": "d", "comment": null, "typed": false,
        "acl_is_default": true, "may_create": true, "owner_may_create": true, "extension": null,
        "published_unnamed": false, "inherits": [], "partition": null, "default_grantees": [], "grants": [],
        "columns": [column("id", "integer"), column("v", "text")], "checks": [], "foreign_keys": [],
        "indexes": [], "invalid_indexes": [], "triggers": [], "policies": [], "statistics": [],
        "publications": [], "labels": [], "views": [], "bound": [],
    });
    let rest = json!({
        "superuser": true, "may_set_owner": true,
        "denied_tablespaces": [], "denied_grantors": [],
        "row_type": {"comment": null, "array_comment": null, "acl_is_default": true, "grants": []},
        "constraint_trigger_states": [],
    });
    let rest = rest.as_object().into_iter().flatten();
    for (key, value) in rest.chain(more.as_object().into_iter().flatten()) {
        all[key] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

fn entry(name: &str, more: &Value) -> Inspected {
    let desc = || table(name, vec![column("id", "int4"), column("v", "text")]);
    Inspected {
        attachments: Some(attached(name, more)),
        ..inspected(desc(), desc())
    }
}

fn planned(entries: Vec<Inspected>, recreate_views: bool) -> Result<JobPlan, Vec<Refusal>> {
    let mut job = fixtures::job(Mode::Swap);
    job.recreate_views = recreate_views;
    crate::plan::job(
        &job,
        entries,
        false,
        fixtures::attempt(),
        &KeyActions::default(),
    )
}

/// All statements of all moments, in order.
fn all(plan: &JobPlan) -> Vec<String> {
    let of = |statements: fn(&Shadow) -> Vec<String>| -> Vec<String> {
        shadows(&plan.tables)
            .flat_map(|(_, shadow)| statements(shadow))
            .collect()
    };
    let mut list = of(|shadow| shadow.make.clone());
    list.extend(of(|shadow| shadow.indexes.concat()));
    list.extend(of(|shadow| shadow.build.clone()));
    list.extend(of(|shadow| shadow.attach.clone()));
    let publish = publish_sql(&plan.tables);
    list.extend(
        publish
            .lock
            .into_iter()
            .map(|(_, sql)| sql)
            .chain(publish.keys_early)
            .chain(publish.swap)
            .chain(publish.keys_late),
    );
    list
}

const SHADOW: &str = "\"public\".\"tableferry_shadow_96270aac194b0e44\"";

#[test]
fn names_never_change_between_releases_or_leftovers_would_not_be_found() {
    let name = QualifiedName::new("public", "t");
    assert_eq!(shadow_name(&name, None).sql(), SHADOW);
    let long = QualifiedName::new("s", "x".repeat(63));
    let names = Names::new(shadow_name(&long, None), &long);
    assert!(names.index(9999).name.as_str().len() <= crate::pg::ident::IDENT_BYTES_MAX);
}

#[rstest]
#[case(
    json!({"options": ["fillfactor=70"], "toast_options": ["autovacuum_enabled=false"], "unlogged": true, "tablespace": "fast"}),
    r#"CREATE UNLOGGED TABLE $S ("id" integer, "v" text) USING "heap" WITH ("fillfactor"='70', toast."autovacuum_enabled"='false') TABLESPACE "fast""#
)]
#[case(
    json!({"checks": [{"name": "c c", "definition": "CHECK ((id > 0)) NOT VALID", "not_null": false, "whole_row": false, "comment": null}]}),
    r#"ALTER TABLE $S ADD CONSTRAINT "c c" CHECK ((id > 0)) NOT VALID"#
)]
#[case(
    json!({"triggers": [{"name": "g", "definition": "CREATE TRIGGER g AFTER INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION f(' ON public.t ')",
                         "enabled": "A", "comment": null, "parent_enabled": null, "function": "f", "may_execute": true}]}),
    "CREATE TRIGGER g AFTER INSERT ON $S FOR EACH ROW EXECUTE FUNCTION f(' ON public.t ')"
)]
#[case(
    json!({"statistics": [{"schema": "o", "name": "x", "owner": "p", "owned": true, "may_create": true, "whole_row": false, "target": null, "comment": null,
                           "middle": "(ndistinct) ON id, v"}]}),
    r#"CREATE STATISTICS "o"."tableferry_shadow_96270aac194b0e44_x0" (ndistinct) ON id, v FROM $S"#
)]
#[case(
    json!({"publications": [{"name": "p", "owned": true, "columns": ["id"], "filter": "(id > 3)"}]}),
    r#"ALTER PUBLICATION "p" ADD TABLE ONLY $S ("id") WHERE ((id > 3))"#
)]
#[case(json!({"replica_identity": "f"}), "ALTER TABLE $S REPLICA IDENTITY FULL")]
#[case(json!({"comment": "it's"}), "COMMENT ON TABLE $S IS 'it''s'")]
#[case(json!({}), "COMMENT ON TABLE $S IS NULL")]
#[case(
    json!({"policies": [{"name": "p", "permissive": false, "command": "w", "roles": [null, "r"], "using": "true", "check": null, "comment": null}]}),
    r#"CREATE POLICY "p" ON "public"."t" AS RESTRICTIVE FOR UPDATE TO PUBLIC, "r" USING (true)"#
)]
fn what_is_attached_is_made_again(#[case] more: Value, #[case] expected: &str) {
    let plan = planned(vec![entry("t", &more)], false).unwrap();
    let statements = all(&plan);
    let expected = expected.replace("$S", SHADOW);
    assert!(
        statements.contains(&expected),
        "{expected}\nis not among\n{}",
        statements.join("\n")
    );
    assert!(statements.iter().all(|sql| !sql.contains("CASCADE")));
}

#[test]
fn a_foreign_key_to_a_table_that_is_swapped_too_points_to_its_shadow() {
    let key = json!([{"name": "k", "to_schema": "public", "to_name": "t", "head": "FOREIGN KEY (id) REFERENCES ",
                      "tail": "(id) ON DELETE CASCADE", "may_reference": true, "validated": true, "to_parts": [["public", "part"]], "states_there": [], "comment": null}]);
    let parent = |mut entry: Inspected| {
        let target = entry.target.as_mut().unwrap();
        target.referenced_by = vec![ForeignKey {
            name: "k".to_owned(),
            from: QualifiedName::new("public", "child"),
            to: target.name.clone(),
            from_ancestors: Vec::new(),
            deferrable: false,
        }];
        entry
    };
    let child = || entry("child", &json!({"foreign_keys": key}));

    let together = planned(vec![parent(entry("t", &json!({}))), child()], false).unwrap();
    let to_shadow = format!("FOREIGN KEY (id) REFERENCES {SHADOW}(id) ON DELETE CASCADE");
    assert!(all(&together).iter().any(|sql| sql.ends_with(&to_shadow)));
    let alone = planned(vec![child()], false).unwrap();
    assert!(
        all(&alone)
            .iter()
            .any(|sql| sql.contains("REFERENCES \"public\".\"t\"(id)"))
    );
    let refused = planned(vec![parent(entry("t", &json!({})))], false).unwrap_err();
    assert!(refused[0].message.contains("child"), "{refused:?}");
}

#[rstest]
#[case(json!({"bound": ["function f(t)"]}), ErrorKind::SchemaMismatch, "function f(t)")]
#[case(json!({"typed": true}), ErrorKind::SchemaMismatch, "typed")]
#[case(json!({"extension": "postgis"}), ErrorKind::SchemaMismatch, "postgis")]
#[case(json!({"inherits": ["public.up"]}), ErrorKind::SchemaMismatch, "public.up")]
#[case(json!({"published_unnamed": true}), ErrorKind::SchemaMismatch, "publication")]
#[case(json!({"may_create": false}), ErrorKind::Permission, "CREATE on schema public")]
#[case(json!({"owner_may_create": false}), ErrorKind::Permission, "o, which owns")]
#[case(json!({"publications": [{"name": "p", "owned": false, "columns": null, "filter": null}]}), ErrorKind::Permission, "publication p")]
#[case(
    json!({"indexes": [{"name": "i", "unique": false, "tail": null, "tablespace": null, "options": [], "parent": null, "whole_row": false, "clustered": false,
                        "replica_identity": false, "comment": null, "statistics": [], "constraint": null}]}),
    ErrorKind::SchemaMismatch,
    "index i"
)]
fn what_cannot_follow_is_refused_by_name(
    #[case] more: Value,
    #[case] kind: ErrorKind,
    #[case] part: &str,
) {
    let refused = planned(vec![entry("t", &more)], true).unwrap_err();
    let [refusal] = refused.as_slice() else {
        panic!("{refused:?}")
    };
    assert_eq!(refusal.kind, kind);
    assert!(refusal.message.contains(part), "{refusal:?}");
    assert!(
        refusal.hint.as_deref().unwrap().contains("merge"),
        "{refusal:?}"
    );
}

#[test]
fn a_view_is_replaced_once_and_locked_before_the_tables() {
    let views = json!({"views": [{"schema": "public", "name": "v", "owner": "o", "owned": true, "temporary": false,
                                  "options": ["security_barrier=true"], "definition": " SELECT 1;"}]});
    let entries = || vec![entry("t", &views), entry("u", &views)];
    assert_eq!(planned(entries(), false).unwrap_err().len(), 2);
    let publish = publish_sql(&planned(entries(), true).unwrap().tables);
    assert_eq!(publish.lock.len(), 3, "{publish:?}");
    assert!(publish.lock[0].1.starts_with("ALTER VIEW"), "{publish:?}");
    let replaced =
        r#"CREATE OR REPLACE VIEW "public"."v" WITH ("security_barrier"='true') AS SELECT 1"#;
    assert_eq!(
        publish.swap.iter().filter(|sql| *sql == replaced).count(),
        1
    );
}

fn grant(grantor: &str, grantee: Option<&str>, column: Option<&str>, grantable: bool) -> Grant {
    Grant {
        column: column.map(str::to_owned),
        grantor: grantor.to_owned(),
        grantee: grantee.map(str::to_owned),
        privilege: "SELECT".to_owned(),
        grantable,
    }
}

#[rstest]
#[case(true, &[], &[grant("o", Some("o"), None, false)], &[])]
#[case(
    true,
    &[Some("d".to_owned()), None],
    &[grant("o", Some("o"), None, false)],
    &["REVOKE ALL ON T FROM \"d\", \"o\", PUBLIC", "GRANT SELECT ON T TO \"o\""]
)]
#[case(
    false,
    &[],
    &[grant("o", Some("a"), None, true), grant("a", None, None, false), grant("o", Some("b"), Some("c"), false)],
    &[
        "REVOKE ALL ON T FROM \"o\", PUBLIC",
        "GRANT SELECT ON T TO \"a\" WITH GRANT OPTION",
        "SET LOCAL ROLE \"a\"",
        "GRANT SELECT ON T TO PUBLIC",
        "RESET ROLE",
        "GRANT SELECT (\"c\") ON T TO \"b\"",
    ]
)]
fn privileges_are_exactly_the_old_ones(
    #[case] is_default: bool,
    #[case] default_grantees: &[Option<String>],
    #[case] grants: &[Grant],
    #[case] expected: &[&str],
) {
    assert_eq!(
        acl::acl("T", "o", is_default, default_grantees, grants),
        expected
    );
}

#[test]
fn differences_are_named_and_rights_of_our_own_are_none() {
    let old = attached("t", &json!({}));
    let same = attached(
        "t",
        &json!({"may_create": false, "acl_is_default": false, "default_grantees": ["x"]}),
    );
    assert_eq!(differences(&old, &same), Vec::<&str>::new());
    let other = attached("t", &json!({"comment": "x", "bound": ["function f()"]}));
    assert_eq!(
        differences(&old, &other),
        ["the comment", "objects that depend on it"]
    );
}

#[test]
fn tables_that_are_published_one_by_one_know_no_other_shadow() {
    let key = json!({"foreign_keys": [{"name": "k", "to_schema": "public", "to_name": "t", "head": "FOREIGN KEY (id) REFERENCES ",
                                       "tail": "(id)", "may_reference": true, "validated": true, "to_parts": [["public", "part"]], "states_there": [], "comment": null}]});
    let mut job = fixtures::job(Mode::Swap);
    job.atomic = false;
    let plan = crate::plan::job(
        &job,
        vec![entry("t", &json!({})), entry("child", &key)],
        false,
        fixtures::attempt(),
        &KeyActions::default(),
    )
    .unwrap();
    assert!(
        all(&plan)
            .iter()
            .any(|sql| sql.contains("REFERENCES \"public\".\"t\"(id)"))
    );
}
