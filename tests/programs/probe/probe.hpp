// SPDX-License-Identifier: Apache-2.0
// What the probe prints and tries.
#pragma once

#include <string>

namespace probe {

/// Namespaces, identity, descriptors, environment, mounts, limits, files, as seen from inside.
void report(int argc, char** argv);

/// Everything that a process inherits or sees, for comparing two ways of starting it. Keys may contain
/// spaces: each line is "KEY<TAB>VALUE".
void world();

/// Makes calls that must be refused and prints "NAME ERRNO" for each, 0 if it was not refused.
void attack();

/// Makes calls on both sides of the filter's rules: "refused NAME ERRNO", "allowed NAME ERRNO".
void filter();

/// Tries one way out of the pod: prints "escaped WHAT" (WHAT is empty if everything was refused) and "refused
/// WHAT: HOW" for the first refusal. False for an unknown name. `arguments` ends with a null pointer.
bool escape(const std::string& name, char** arguments);

}  // namespace probe
