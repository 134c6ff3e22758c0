//go:build !failpoint

package failpoint

// Enabled says whether the program was built with the tag "failpoint".
const Enabled = false

// Hit does nothing in a program built without the tag "failpoint".
func Hit(string) {}
