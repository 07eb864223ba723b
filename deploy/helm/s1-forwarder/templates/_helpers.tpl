{{- define "s1-forwarder.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "s1-forwarder.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "s1-forwarder.labels" -}}
{{ include "s1-forwarder.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "s1-forwarder.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "s1-forwarder.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "s1-forwarder.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Name, namespace and labels of an object with the release's name. */}}
{{- define "s1-forwarder.metadata" -}}
name: {{ include "s1-forwarder.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "s1-forwarder.labels" . | nindent 2 }}
{{- end -}}
