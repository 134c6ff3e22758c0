package main

import (
	"maps"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
)

const startupTaint = "csi.strata.dev/not-ready"

// compile makes of a policy what the API server makes of it (k8s.io/apiserver, validating/plugin.go, compilePolicy).
func compile(t *testing.T, p *admissionv1.ValidatingAdmissionPolicy) validating.Validator {
	t.Helper()
	// The oldest Kubernetes of the chart has to understand it.
	env := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	c, err := cel.NewCompositedCompiler(env)
	if err != nil {
		t.Fatal(err)
	}
	options := cel.OptionalVariableDeclarations{HasAuthorizer: true}
	var variables []cel.NamedExpressionAccessor
	for _, v := range p.Spec.Variables {
		variables = append(variables, &validating.Variable{Name: v.Name, Expression: v.Expression})
	}
	c.CompileAndStoreVariables(variables, options, environment.NewExpressions)
	var conditions, expressions, messages []cel.ExpressionAccessor
	for i := range p.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&p.Spec.MatchConditions[i]))
	}
	for _, v := range p.Spec.Validations {
		expressions = append(expressions, &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason})
		if v.MessageExpression == "" {
			messages = append(messages, nil)
			continue
		}
		messages = append(messages, &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression})
	}
	match, checks := c.CompileCondition(conditions, options, environment.NewExpressions), c.CompileCondition(expressions, options, environment.NewExpressions)
	says := c.CompileCondition(messages, cel.OptionalVariableDeclarations{}, environment.NewExpressions)
	for _, e := range []cel.ConditionEvaluator{match, checks, says} {
		for _, err := range e.CompilationErrors() {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	audit := c.CompileCondition(nil, options, environment.NewExpressions)
	matcher := matchconditions.NewMatcher(match, p.Spec.FailurePolicy, "policy", "validate", p.Name)
	return validating.NewValidator(checks, matcher, audit, says, p.Spec.FailurePolicy, nil)
}

// ask returns why the policy denies a change, or "".
func ask(t *testing.T, v validating.Validator, who user.Info, before, after runtime.Object, gvr schema.GroupVersionResource) string {
	t.Helper()
	kind := after.GetObjectKind().GroupVersionKind()
	operation := admission.Update
	if before == nil {
		operation = admission.Create
	}
	meta := after.(metav1.Object)
	attr := admission.NewAttributesRecord(after, before, kind, meta.GetNamespace(), meta.GetName(), gvr, "", operation, nil, false, who)
	versioned := &admission.VersionedAttributes{Attributes: attr, VersionedKind: kind}
	versioned.VersionedObject.Set(after)
	if before != nil {
		versioned.VersionedOldObject.Set(before)
	}
	var denied []string
	for _, d := range v.Validate(t.Context(), gvr, versioned, nil, nil, celconfig.RuntimeCELCostBudget, nil).Decisions {
		if d.Action == validating.ActionDeny {
			denied = append(denied, d.Message)
		}
	}
	return strings.Join(denied, "; ")
}

func account(name, node string) user.Info {
	u := &user.DefaultInfo{Name: "system:serviceaccount:strata:" + name, Groups: []string{"system:serviceaccounts"}}
	if node != "" {
		u.Extra = map[string][]string{"authentication.kubernetes.io/node-name": {node}, "authentication.kubernetes.io/pod-name": {name + "-x"}}
	}
	return u
}

func policies(t *testing.T) map[string]validating.Validator {
	t.Helper()
	out, bound := map[string]validating.Validator{}, map[string]bool{}
	for _, o := range objects(t, files(t, "warm")) {
		switch p := o.obj.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			out[p.Name] = compile(t, p)
		case *admissionv1.ValidatingAdmissionPolicyBinding:
			if len(p.Spec.ValidationActions) != 1 || p.Spec.ValidationActions[0] != admissionv1.Deny {
				t.Errorf("%s only %v", o, p.Spec.ValidationActions)
			}
			bound[p.Spec.PolicyName] = true
		}
	}
	for name := range out {
		if !bound[name] {
			t.Errorf("policy %s is bound nowhere", name)
		}
	}
	return out
}

func TestTheNodeMayFreeItselfAlone(t *testing.T) {
	policy := policies(t)["strata-node-own-node"]
	if policy == nil {
		t.Fatal("there is no policy strata-node-own-node")
	}
	node := func(change func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
			ObjectMeta: metav1.ObjectMeta{Name: "node-a", Labels: map[string]string{"zone": "1"}, Annotations: map[string]string{"a": "b"}, ResourceVersion: "1"},
			Spec: corev1.NodeSpec{PodCIDR: "10.1.0.0/24", ProviderID: "x", Taints: []corev1.Taint{
				{Key: startupTaint, Effect: corev1.TaintEffectNoSchedule}, {Key: "gpu", Value: "a100", Effect: corev1.TaintEffectNoSchedule},
			}},
		}
		if change != nil {
			change(n)
		}
		return n
	}
	freed := func(n *corev1.Node) { n.Spec.Taints = n.Spec.Taints[1:]; n.ResourceVersion = "2" }
	for _, c := range []struct {
		what   string
		who    user.Info
		before *corev1.Node
		after  *corev1.Node
		want   string // "": allowed
	}{
		{"takes its startup taint away", account("strata-node", "node-a"), node(nil), node(freed), ""},
		{"changes nothing", account("strata-node", "node-a"), node(nil), node(nil), ""},
		{"takes its only taint away", account("strata-node", "node-a"), node(func(n *corev1.Node) { n.Spec.Taints = n.Spec.Taints[:1] }), node(func(n *corev1.Node) { n.Spec.Taints = nil }), ""},
		{"another's node", account("strata-node", "node-b"), node(nil), node(freed), "node-b may change its own Node alone"},
		{"a token of no node", account("strata-node", ""), node(nil), node(freed), "must be one that names its node"},
		{"another taint goes", account("strata-node", "node-a"), node(nil), node(func(n *corev1.Node) { n.Spec.Taints = n.Spec.Taints[:1] }), "change no other"},
		{"a taint comes", account("strata-node", "node-a"), node(nil), node(func(n *corev1.Node) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "x", Effect: corev1.TaintEffectNoExecute})
		}), "change no other"},
		{"a taint changes", account("strata-node", "node-a"), node(nil), node(func(n *corev1.Node) { n.Spec.Taints[1].Value = "h100" }), "change no other"},
		{"a label changes", account("strata-node", "node-a"), node(nil), node(func(n *corev1.Node) { freed(n); n.Labels["zone"] = "2" }), "nothing of its Node but the startup taint"},
		{"the labels go", account("strata-node", "node-a"), node(nil), node(func(n *corev1.Node) { n.Labels = nil }), "nothing of its Node but the startup taint"},
		{"an annotation comes", account("strata-node", "node-a"), node(nil), node(func(n *corev1.Node) { n.Annotations["c"] = "d" }), "nothing of its Node but the startup taint"},
		{"it is cordoned", account("strata-node", "node-a"), node(nil), node(func(n *corev1.Node) { n.Spec.Unschedulable = true }), "nothing of its Node but the startup taint"},
		{"a finalizer comes", account("strata-node", "node-a"), node(nil), node(func(n *corev1.Node) { n.Finalizers = []string{"x/y"} }), "nothing of its Node but the startup taint"},
		{"its provider id changes", account("strata-node", "node-a"), node(nil), node(func(n *corev1.Node) { n.Spec.ProviderID = "y" }), "nothing of its Node but the startup taint"},
		{"somebody else cordons", account("drainer", ""), node(nil), node(func(n *corev1.Node) { n.Spec.Unschedulable = true }), ""},
	} {
		got := ask(t, policy, c.who, c.before, c.after, corev1.SchemeGroupVersion.WithResource("nodes"))
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: denied with %q, want %q", c.what, got, c.want)
		}
	}
	if got := ask(t, policy, account("strata-node", "node-a"), nil, node(nil), corev1.SchemeGroupVersion.WithResource("nodes")); got == "" {
		t.Error("it may make a Node")
	}
}

func TestTheNodeMayWriteItsReportAlone(t *testing.T) {
	policy := policies(t)["strata-node-own-report"]
	if policy == nil {
		t.Fatal("there is no policy strata-node-own-report")
	}
	report := func(name string, data map[string]string) *corev1.ConfigMap {
		return &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "strata"}, Data: maps.Clone(data)}
	}
	gvr := corev1.SchemeGroupVersion.WithResource("configmaps")
	for _, c := range []struct {
		what, node, name string
		allowed          bool
	}{
		{"its own", "node-a", "strata-scratch-node-a", true},
		{"another node's", "node-a", "strata-scratch-node-b", false},
		{"the clusters", "node-a", "strata-clusters", false},
		{"the scratch configuration", "node-a", "strata-scratch", false},
		{"with a token of no node", "", "strata-scratch-", false},
		{"without a name", "node-a", "", false},
	} {
		who := account("strata-node", c.node)
		made := ask(t, policy, who, nil, report(c.name, map[string]string{"report.json": "{}"}), gvr)
		changed := ask(t, policy, who, report(c.name, nil), report(c.name, map[string]string{"report.json": "{}"}), gvr)
		if (made == "") != c.allowed || (changed == "") != c.allowed {
			t.Errorf("%s: making it denied with %q, changing it with %q; allowed should be %t", c.what, made, changed, c.allowed)
		}
	}
	if got := ask(t, policy, account("strata-controller", "node-a"), nil, report("strata-clusters", nil), gvr); got != "" {
		t.Errorf("others are denied: %q", got)
	}
}
