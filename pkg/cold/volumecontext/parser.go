package volumecontext

// Reading values: all of them are text, as Kubernetes gives them.

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

// parser reads values one by one and keeps the first error.
type parser struct {
	values map[string]string
	err    error
}

func (p *parser) fail(key, allowed string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s: %q is not %s", volume.ErrInvalid, key, p.values[key], allowed)
	}
}

// words are what storage classes, kinds of encryption and regions are called.
var words = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:_-]{0,62}$`)

func (p *parser) word(key, fallback string) string {
	v := p.values[key]
	if v == "" {
		return fallback
	}
	if !words.MatchString(v) {
		p.fail(key, "1 to 63 letters, digits, ':', '_' and '-'")
	}
	return v
}

// prefix adds the '/' at the end: whoever writes a prefix may leave it out.
func (p *parser) prefix() string {
	v := p.values[KeyPrefix]
	if v != "" && !strings.HasSuffix(v, "/") {
		v += "/"
	}
	if err := CheckPrefix(v); err != nil && p.err == nil {
		p.err = fmt.Errorf("%s: %q: %w", KeyPrefix, p.values[KeyPrefix], err)
	}
	return v
}

func (p *parser) yes(key string, fallback bool) bool {
	switch p.values[key] {
	case "":
		return fallback
	case "true":
		return true
	case "false":
		return false
	}
	p.fail(key, `"true" or "false"`)
	return false
}

func (p *parser) id(key string) uint32 {
	v := p.values[key]
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		p.fail(key, "a number from 0 to 2147483647")
	}
	return uint32(n)
}

func (p *parser) mode(key string, fallback uint32) uint32 {
	v := p.values[key]
	if v == "" {
		return fallback
	}
	n, err := strconv.ParseUint(v, 8, 32)
	if err != nil || n > 0o777 || len(v) < 3 || len(v) > 4 {
		p.fail(key, `an octal mode of three or four digits up to 0777, like "0770"`)
	}
	return uint32(n)
}

var units = []struct {
	text string
	unit int64
}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"Pi", 1 << 50}, {"", 1}}

// size reads bytes, with Ki, Mi, Gi, Ti or Pi as Kubernetes writes them; 0 when absent.
func (p *parser) size(key string, least int64) int64 {
	v := p.values[key]
	if v == "" {
		return 0
	}
	for _, u := range units {
		digits, found := strings.CutSuffix(v, u.text)
		if !found {
			continue
		}
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n > 0 && n <= (1<<62)/u.unit && n*u.unit >= least {
			return n * u.unit
		}
		break
	}
	p.fail(key, fmt.Sprintf("a size of at least %d bytes; Ki, Mi, Gi, Ti and Pi may stand behind the number", least))
	return 0
}

func (p *parser) duration(key string, fallback, least, most time.Duration) time.Duration {
	v := p.values[key]
	if v == "" {
		return fallback
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < least || d > most {
		p.fail(key, fmt.Sprintf(`a time from %s to %s, like "500ms", "10s" or "1h"`, least, most))
	}
	return d
}

// roles are the ARNs that Amazon's documentation allows, in the characters that any store takes.
var roles = regexp.MustCompile(`^arn:[a-z0-9-]+:iam::[A-Za-z0-9-]*:role/[A-Za-z0-9+=,.@_/-]{1,128}$`)

// identity reads the keys of a volume with credentials of its own, which stand together or not at all.
func (p *parser) identity(c *Context) {
	switch v := p.values[KeyIdentity]; Identity(v) {
	case IdentityShared, sharedText:
		for _, key := range []string{KeyRoleARN, KeySTSEndpoint, KeyCredentialsLifetime} {
			if p.values[key] != "" {
				p.fail(key, fmt.Sprintf("of use without %s: %s", KeyIdentity, IdentityVolume))
			}
		}
		return
	case IdentityVolume, IdentityReader:
		c.Identity = Identity(v)
	default:
		p.fail(KeyIdentity, fmt.Sprintf("one of %s, %s", sharedText, IdentityVolume))
		return
	}
	if c.RoleARN = p.values[KeyRoleARN]; !roles.MatchString(c.RoleARN) {
		p.fail(KeyRoleARN, "the ARN of a role, like arn:aws:iam:::role/strata-volumes")
	}
	c.CredentialsLifetime = p.duration(KeyCredentialsLifetime, DefaultCredentialsLifetime, s3.MinSession, s3.MaxSession)
	if c.STSEndpoint = p.values[KeySTSEndpoint]; c.STSEndpoint == "" || p.err != nil {
		return
	}
	if err := c.STS().Check(); err != nil {
		p.fail(KeySTSEndpoint, "an endpoint: https://HOST[:PORT] or http://HOST[:PORT]")
	}
}
