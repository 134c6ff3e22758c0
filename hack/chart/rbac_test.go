package main

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// TestNobodyHasSecrets: but the controller, those of its own namespace; without volumes' keys among them, the access keys of cold classes, by their names.
func TestNobodyHasSecrets(t *testing.T) {
	each(t, func(t *testing.T, all []object) {
		rules := 0
		for _, o := range all {
			var these []rbacv1.PolicyRule
			switch r := o.obj.(type) {
			case *rbacv1.Role:
				these = r.Rules
			case *rbacv1.ClusterRole:
				these = r.Rules
				if r.AggregationRule != nil {
					t.Errorf("%s takes rules of others", o)
				}
			default:
				continue
			}
			for _, r := range these {
				rules++
				for _, list := range [][]string{r.Verbs, r.APIGroups, r.Resources} {
					if len(list) == 0 || slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, "*") }) {
						t.Errorf("%s: %v names everything or nothing", o, r)
					}
				}
				keys := o.kind() == "Role" && o.meta.GetName() == "strata-controller" && o.meta.GetNamespace() == "strata" && slices.Equal(r.Resources, []string{"secrets"}) &&
					slices.Equal(r.Verbs, []string{"get", "create", "update", "delete"})
				named := o.kind() == "Role" && o.meta.GetName() == "strata-controller" && o.meta.GetNamespace() == "strata" && slices.Equal(r.Resources, []string{"secrets"}) &&
					len(r.ResourceNames) > 0 && slices.Equal(r.Verbs, []string{"get"})
				if slices.Contains(r.Resources, "secrets") && !keys && !named || slices.Contains(r.Resources, "serviceaccounts/token") {
					t.Errorf("%s: %v", o, r)
				}
				for _, v := range []string{"escalate", "bind", "impersonate"} {
					if slices.Contains(r.Verbs, v) {
						t.Errorf("%s: %v", o, r)
					}
				}
			}
		}
		if rules == 0 {
			t.Error("no rule was seen")
		}
	})
}

// strata-node may do just what its code asks of the API, which is written down here a second time: more has to be decided.
func TestTheNodeMayDoThisAndNoMore(t *testing.T) {
	allowed := map[string][]string{
		"nodes": {"get", "patch"}, "events": {"create", "patch"}, "pods": {"list"}, "persistentvolumes": {"list"}, "configmaps": {"get", "create", "update"},
	}
	each(t, func(t *testing.T, all []object) {
		for _, o := range all {
			var rules []rbacv1.PolicyRule
			switch r := o.obj.(type) {
			case *rbacv1.Role:
				rules = r.Rules
			case *rbacv1.ClusterRole:
				rules = r.Rules
			}
			if o.meta.GetName() != "strata-node" {
				continue
			}
			for _, r := range rules {
				for _, resource := range r.Resources {
					if resource == "configmaps" && o.kind() != "Role" {
						t.Errorf("%s: ConfigMaps of every namespace", o)
					}
					for _, verb := range r.Verbs {
						if !slices.Contains(allowed[resource], verb) {
							t.Errorf("%s: %s %s", o, verb, resource)
						}
					}
				}
			}
		}
	})
}

func TestBindingsBindWhatIsThere(t *testing.T) {
	each(t, func(t *testing.T, all []object) {
		there := map[string]bool{}
		for _, o := range all {
			there[o.kind()+"/"+o.meta.GetName()] = true
		}
		bound := map[string]bool{}
		check := func(o object, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
			if !there[ref.Kind+"/"+ref.Name] || ref.APIGroup != rbacv1.GroupName {
				t.Errorf("%s binds %+v", o, ref)
			}
			bound[ref.Kind+"/"+ref.Name] = true
			for _, s := range subjects {
				if s.Kind != "ServiceAccount" || !there["ServiceAccount/"+s.Name] || s.Namespace != "strata" {
					t.Errorf("%s binds it to %+v", o, s)
				}
			}
		}
		for _, o := range all {
			switch b := o.obj.(type) {
			case *rbacv1.RoleBinding:
				check(o, b.RoleRef, b.Subjects)
			case *rbacv1.ClusterRoleBinding:
				check(o, b.RoleRef, b.Subjects)
			}
		}
		for _, o := range all {
			if k := o.kind(); (k == "Role" || k == "ClusterRole") && !bound[k+"/"+o.meta.GetName()] {
				t.Errorf("%s is bound to nobody", o)
			}
		}
	})
}

// TestKeysOfVolumes: a class whose volumes have identities names the Secrets that the controller makes, and the controller may make them.
func TestKeysOfVolumes(t *testing.T) {
	seen := 0
	each(t, func(t *testing.T, all []object) {
		var own, may bool
		for _, o := range all {
			switch r := o.obj.(type) {
			case *rbacv1.Role:
				for _, rule := range r.Rules {
					may = may || slices.Contains(rule.Resources, "secrets")
				}
			case *storagev1.StorageClass:
				if r.Parameters["identity"] != "volume" {
					continue
				}
				own = true
				seen++
				for _, kind := range []string{"node-stage", "node-publish"} {
					if name, namespace := r.Parameters["csi.storage.k8s.io/"+kind+"-secret-name"], r.Parameters["csi.storage.k8s.io/"+kind+"-secret-namespace"]; name != "${pv.name}" || namespace != "strata" {
						t.Errorf("%s: %s-secret %s/%s", o, kind, namespace, name)
					}
				}
			}
		}
		if own && !may {
			t.Error("nobody may keep their keys")
		}
	})
	if seen == 0 {
		t.Error("no class has identities")
	}
}
