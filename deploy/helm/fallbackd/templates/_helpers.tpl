{{- define "fallbackd.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "fallbackd.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "fallbackd.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end }}

{{/* A keyring is read without following symlinks: each key is mounted as a separate file. */}}
{{- define "fallbackd.keyMounts" -}}
{{- range $file, $pem := .Values.keys }}
- name: keys
  mountPath: /etc/fallbackd/keys/{{ $file }}
  subPath: {{ $file }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "fallbackd.keysName" -}}
fallbackd-keys-{{ .Values.keys | toYaml | sha256sum | trunc 10 }}
{{- end }}

{{/* Where on every node it runs, and before whom. */}}
{{- define "fallbackd.placement" -}}
serviceAccountName: fallbackd
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Not empty if the daemon needs the API server, and so a token. */}}
{{- define "fallbackd.asksApiServer" -}}
{{- if or .Values.kubernetes.enabled .Values.kubernetes.events.enabled .Values.kubernetes.namespacePause }}yes{{ end }}
{{- end }}
