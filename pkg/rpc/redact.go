package rpc

// What a log may show of a message. Fields that the CSI specification marks with the option csi_secret show their
// keys only, and so does what becomes a secret by its name.

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

const (
	hidden = "***"
	// longest text shown whole; the specification's limit for a string is 128 bytes, for a path often 4096.
	longest = 512
)

// tokensKey is where the kubelet puts service account tokens: in the volume context, which isn't marked as a secret
// (Kubernetes CVE-2024-3744 was a log of it).
const tokensKey = "csi.storage.k8s.io/serviceAccount.tokens"

// redacted is a message as a log may show it. The work is done when it is printed.
type redacted struct{ message any }

// String is the message as one line of JSON without its secrets.
func (r redacted) String() string {
	m, ok := r.message.(proto.Message)
	if !ok {
		return fmt.Sprintf("%T", r.message)
	}
	b, err := json.Marshal(message(m.ProtoReflect()))
	if err != nil {
		return fmt.Sprintf("%T: %v", r.message, err)
	}
	return string(b)
}

func message(m protoreflect.Message) map[string]any {
	out := map[string]any{}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		out[string(f.Name())] = field(f, v)
		return true
	})
	return out
}

func field(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	secret := isSecret(f)
	switch {
	case f.IsMap():
		out := map[string]any{}
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			if secret || k.String() == tokensKey {
				out[k.String()] = hidden
			} else {
				out[k.String()] = value(f.MapValue(), v)
			}
			return true
		})
		return out
	case secret:
		return hidden
	case f.IsList():
		l := v.List()
		out := make([]any, l.Len())
		for i := range out {
			out[i] = value(f, l.Get(i))
		}
		return out
	}
	return value(f, v)
}

func isSecret(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(*descriptorpb.FieldOptions)
	if !ok || o == nil {
		return false
	}
	secret, _ := proto.GetExtension(o, csi.E_CsiSecret).(bool)
	return secret
}

func value(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return message(v.Message())
	case protoreflect.EnumKind:
		if e := f.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name())
		}
		return int(v.Enum())
	case protoreflect.StringKind:
		return text(f, v.String())
	case protoreflect.BytesKind:
		return fmt.Sprintf("%d bytes", len(v.Bytes()))
	}
	return v.Interface()
}

// text shortens what is long, and hides the value of the mount option secret=, which mount.ceph would take.
func text(f protoreflect.FieldDescriptor, s string) string {
	if f.Name() == "mount_flags" {
		options := strings.Split(s, ",")
		for i, o := range options {
			if strings.HasPrefix(strings.TrimSpace(o), "secret=") {
				options[i] = "secret=" + hidden
			}
		}
		s = strings.Join(options, ",")
	}
	return short(s)
}

func short(s string) string {
	if len(s) <= longest {
		return s
	}
	return fmt.Sprintf("%s... (%d bytes)", strings.ToValidUTF8(s[:longest], ""), len(s))
}
