// SPDX-License-Identifier: Apache-2.0
// From a pod's specification to kubelet's requests to the runtime: kubelet's rules as in its documentation
// and its behaviour. Written only for the tests and sharing nothing with the daemon, so that the two can be
// compared.
#pragma once

#include "kubelet/kubelet.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace fallbackd::e2e {

using Texts = std::map<std::string, std::string>;

/// What kubelet knows in addition to the pod.
struct Surroundings {
  std::map<std::string, Texts> configMaps;  // of the pod's namespace
  std::map<std::string, Texts> secrets;
  Texts kubernetes;  // variables of the Service "kubernetes", which every container has
  Texts services;    // variables of the namespace's Services
  Texts volumeOfClaim;
  Texts allocatable;
  std::string nodeName;
};

/// A quantity ("1500m", "64Mi", "2") in thousandths.
std::optional<std::int64_t> milliQuantity(std::string_view text);

/// The container of this name, init containers included; nullptr: there is none.
const boost::json::object* containerNamed(const boost::json::object& pod, const std::string& name);

/// $(NAME) and $$, as in args and values of variables.
std::string expandVariables(std::string_view text, const Texts& variables);

/// All variables of a container. An error if kubelet would not start it.
Result<Texts> variablesOf(const boost::json::object& pod, const boost::json::object& container,
                          const Pod& running, const Surroundings& around);

/// The sandbox with its volumes, except for those of claims.
PodSpec sandboxOf(const boost::json::object& pod, const Surroundings& around);

/// Creates the folders of claims as a CSI driver does, below the folder that the pod will have.
Result<> makeClaims(const boost::json::object& pod, const std::filesystem::path& podFolder,
                    const Surroundings& around);

/// `imageUser` is the image's USER. Creates sub-paths of volumes.
Result<ContainerSpec> containerOf(const boost::json::object& pod, const std::string& name,
                                  const std::string& imageUser, const Pod& running,
                                  const Surroundings& around);

}  // namespace fallbackd::e2e
