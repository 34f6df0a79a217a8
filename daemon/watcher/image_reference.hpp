// Image references as people write them and as containerd stores them.
#pragma once

#include <string>
#include <string_view>

namespace fallbackd::watcher {

/// "nginx" -> "docker.io/library/nginx:latest", "host:5000/a/b@sha256:..." as it is: containerd's own form.
std::string normalizedReference(std::string_view reference);

/// The registry's host (and port) of a reference: "docker.io" where none is named.
std::string registryHost(std::string_view reference);

/// The path behind the host, without tag and digest: "library/nginx".
std::string repositoryOf(std::string_view reference);

}  // namespace fallbackd::watcher
