// SPDX-License-Identifier: Apache-2.0
#include "watcher/question.hpp"

namespace fallbackd::watcher {

std::string imageKeyOf(const Question& question) {
  auto key = question.reference.toString() + "\n" + question.credentialsFile;
  if (question.providers) key += "\n" + question.providers->config + "\n" + question.providers->binDir;
  return key;
}

FairGroup groupOf(const Question& question) {
  return {question.scope ? FairGroup::Kind::chosen : FairGroup::Kind::configured, question.podNamespace};
}

}  // namespace fallbackd::watcher
