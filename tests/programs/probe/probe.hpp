// What the probe tells and tries.
#pragma once

namespace probe {

/// Namespaces, identity, descriptors, environment, mounts, limits, files: as seen from inside.
void report(int argc, char** argv);

/// Makes calls that must be refused and prints "NAME ERRNO" for each, 0 where one was not.
void attack();

}  // namespace probe
