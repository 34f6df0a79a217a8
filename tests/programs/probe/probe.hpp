// SPDX-License-Identifier: Apache-2.0
// What the probe prints and tries.
#pragma once

#include <string>

namespace probe {

/// Namespaces, identity, descriptors, environment, mounts, limits, files, as seen from inside.
void report(int argc, char** argv);

/// Everything that a process inherits or sees, to compare two ways of starting one. Keys may contain spaces:
/// each line is "KEY<TAB>VALUE".
void world();

/// Makes calls that must be refused and prints "NAME ERRNO" for each, 0 if it was not refused.
void attack();

/// Calls on both sides of the filter's rules with arguments: "refused NAME ERRNO", "allowed NAME ERRNO".
void filter();

/// One way out of the pod: prints "escaped WHAT" (WHAT is empty if all was refused) and "refused WHAT: HOW"
/// for the first refusal. False for an unknown name. `arguments` ends with a null pointer.
bool escape(const std::string& name, char** arguments);

}  // namespace probe
