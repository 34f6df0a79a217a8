// SPDX-License-Identifier: Apache-2.0
// The variables of a container as kubelet makes them (makeEnvironmentVariables): envFrom in its order, then
// env in its order, each value expanded with the variables before it. Variables of Services come last and
// replace none. What is not known is reported, not silently left out.
#pragma once

#include "kube/facts.hpp"
#include "kube/not_inherited.hpp"
#include "kube/pod_spec.hpp"

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace fallbackd::kube {

/// The variables of a workload in the configuration. They take precedence over the pod's.
struct ConfiguredVariables {
  std::map<std::string, std::string> values;
  std::map<std::string, std::string> files;  // variable -> path inside one of the container's volumes
};

class ContainerEnvironment {
 public:
  /// The limit of what references expand to, in bytes of all values, arguments and paths together: otherwise
  /// variables that refer to each other could grow without limit. exec takes 2 MiB in all by default.
  static constexpr std::size_t kMaxExpanded = 2UL << 20;

  ContainerEnvironment(const Pod& pod, const Container& container, const Facts& facts,
                       const ConfiguredVariables& configured);

  /// Variables whose values are known, those of the configuration included.
  [[nodiscard]] const std::map<std::string, std::string>& values() const { return values_; }
  /// Variables that are read at the launch: of ConfigMaps and Secrets that the container has mounted.
  [[nodiscard]] const std::map<std::string, std::string>& files() const { return files_; }
  /// Names of variables that the pod sets and whose values are not known here, those of files() included.
  [[nodiscard]] const std::set<std::string, std::less<>>& unknown() const { return unknown_; }
  [[nodiscard]] const NotInheritedList& missing() const { return missing_; }

  /// Expands a part of a command. A reference to a variable whose value is not known is reported in
  /// `missing`.
  std::string expandArgument(std::string_view text, const std::string& path, NotInheritedList& missing) const;
  /// Expands subPathExpr: a variable must be set and not be empty.
  std::string expandSubPath(std::string_view text, const std::string& path, NotInheritedList& missing) const;

 private:
  void takeAll(const EnvFrom& from, const std::string& path);
  void take(const EnvVar& variable, const std::string& path);
  void takeField(const std::string& name, const FieldRef& ref, const std::string& path);
  void takeResource(const std::string& name, const ResourceFieldRef& ref, const std::string& path);
  void takeKey(const std::string& name, const KeyRef& ref, const std::string& path);
  void set(const std::string& name, std::string value, const std::string& path);
  void setFile(const std::string& name, std::string file);
  void miss(const std::string& name, const std::string& path, std::string why);
  [[nodiscard]] bool configures(const std::string& name) const;
  [[nodiscard]] bool isUnknown(std::string_view name) const;
  /// Adds the names whose values are not known to `unknown`.
  std::string expandKnown(std::string_view text, std::set<std::string>& unknown) const;
  /// The value, or nothing if it exceeds what is left.
  [[nodiscard]] std::string spend(const std::string& value) const;
  void refuseIfTooLarge(const std::string& path, NotInheritedList& missing) const;

  const Pod& pod_;
  const Container& container_;
  const Facts& facts_;
  const ConfiguredVariables& configured_;
  std::map<std::string, std::string> values_;
  std::map<std::string, std::string> files_;
  std::set<std::string, std::less<>> unknown_;
  bool moreUnknown_ = false;  // an envFrom with unknown content may have set any other variable
  NotInheritedList missing_;
  mutable std::size_t left_ = kMaxExpanded;
  mutable bool tooLarge_ = false;
};

}  // namespace fallbackd::kube
